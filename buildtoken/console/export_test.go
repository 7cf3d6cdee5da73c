package console

import "io"

// File is what a Writer writes to, for tests that put a bad disk in its place.
type File interface {
	io.WriteCloser
	Sync() error
}

// WrapFile puts wrap between the writer and its file.
func WrapFile(w *Writer, wrap func(File) File) { w.file = wrap(w.file) }
