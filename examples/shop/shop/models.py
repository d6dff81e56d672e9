"""The shop's own tables and extensions; none of them knows of bgapp."""

from __future__ import annotations

from flask_login import LoginManager, UserMixin
from flask_migrate import Migrate
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    """The shop's models."""


db = SQLAlchemy(model_class=Base)
migrate = Migrate()
login = LoginManager()
login.login_view = "people.sign_in"


class User(UserMixin, db.Model):  # type: ignore[misc,name-defined] # both bases are untyped
    """A customer, or one of the staff."""

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    is_staff: Mapped[bool] = mapped_column(default=False)


class Order(db.Model):  # type: ignore[misc,name-defined] # as above
    """Something that was bought."""

    id: Mapped[int] = mapped_column(primary_key=True)
    item: Mapped[str]
    receipt: Mapped[str | None]


@login.user_loader
def load_user(user_id: str) -> User | None:
    """Return the shop's user behind its own session."""
    return db.session.get(User, int(user_id))
