"""How Alembic runs bgapp's migrations: on the connection given by `schema`, with a version table of their own."""

from alembic import context

from bgapp import accountmodels  # noqa: F401 # its tables stand on the same metadata
from bgapp.failpoints import reach
from bgapp.models import Base
from bgapp.schema import VERSION_TABLE

connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=Base.metadata,
    version_table=VERSION_TABLE,
    render_as_batch=connection.dialect.name == "sqlite",
    # SQLite takes back created tables as well, once the driver's own transactions are off: all or nothing.
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
    reach("migrate")
