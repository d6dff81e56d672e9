"""The dashboard: server-rendered pages, one module a page group, one access gate, one URL table."""
