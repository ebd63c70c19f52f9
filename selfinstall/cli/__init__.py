"""The command line: options, verbs, views.  A reader of the library as any other program is."""
