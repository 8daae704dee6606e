"""The process of the public site and the portal."""

from armonika.entry.granian_wsgi import serve

if __name__ == "__main__":
    serve("armonika.entry.site_wsgi:application", 0)
