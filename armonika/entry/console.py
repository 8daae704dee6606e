"""The process of the staff console."""

from armonika.entry.granian_wsgi import serve

if __name__ == "__main__":
    serve("armonika.entry.console_wsgi:application", 1)
