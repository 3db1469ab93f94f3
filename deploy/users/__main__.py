"""Writes the users into the server configurations: `python -m deploy.users`."""

from deploy.users import files

if __name__ == "__main__":
    for path, text in files.updated():
        path.write_text(text)
