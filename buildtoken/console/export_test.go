package console

// File is what a Writer writes to, for tests that put a bad disk in its place.
type File = file

// WrapFile puts wrap between the writer and its file.
func WrapFile(w *Writer, wrap func(File) File) { w.file = wrap(w.file) }
