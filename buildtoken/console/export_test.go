package console

// File is the file of a Writer; tests replace it by a faulty one.
type File = file

// WrapFile puts wrap between the writer and its file.
func WrapFile(w *Writer, wrap func(File) File) { w.file = wrap(w.file) }

// Kept returns how many logs are kept for readers.
func Kept(s *Shared) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.tails)
}
