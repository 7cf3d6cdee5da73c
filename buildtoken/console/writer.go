package console

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"unicode/utf8"
)

// Writer writes the log of one running build. Its methods are safe for concurrent use; the output of two calls is never
// mixed. [Store.Create] returns a Writer.
type Writer struct {
	progress *progress
	limit    int64
	release  func()

	mu sync.Mutex // mu guards the following
	// file is the log; nil after Close.
	file file
	// output counts the bytes of the build that were kept, without our own lines.
	output int64
	// full is set with the first byte that was dropped.
	full bool
	// tail holds the first bytes of an incomplete UTF-8 sequence at the end of the output.
	tail []byte
	// midLine means that the last byte is not the end of a line.
	midLine bool
	// lost counts the bytes that could not be written since the last successful write.
	lost int64
	// err is the first error of the disk.
	err    error
	stamps stamps
}

// file is what a Writer needs of an [os.File].
type file interface {
	io.WriteCloser
	Sync() error
}

// Write appends output of the build; readers see it at once. It always accepts all of p, so that a problem with the log
// does not fail a build; only after [Writer.Close] it returns [os.ErrClosed].
//
// Output beyond the limit is dropped, and one line in the log reports it. A UTF-8 sequence is kept or dropped as a whole,
// so up to three bytes more than the limit can be kept. Bytes that could not be written to the disk are lost; a line in
// the log gives their number after the next successful write, and Close returns the error.
func (w *Writer) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.file == nil {
		return 0, fmt.Errorf("console: write: %w", os.ErrClosed)
	}
	if w.full {
		return len(p), nil
	}
	keep := p
	if w.limit > 0 {
		keep = p[:room(w.tail, p, w.limit-w.output)]
		w.tail = unfinished(w.tail, keep)
	}
	w.put(keep)
	w.output += int64(len(keep))
	if len(keep) < len(p) {
		w.full = true
		w.line(fmt.Sprintf("[output limit of %d bytes reached, the rest is dropped]", w.limit))
	}
	return len(p), nil
}

// Copy appends a part of the log that was written earlier, as [Writer.Write] does. From then on, the writer records no
// times.
func (w *Writer) Copy(p []byte) (int, error) {
	w.mu.Lock()
	w.stamps.off = true
	w.mu.Unlock()
	return w.Write(p)
}

// Line appends one line of our own, also beyond the limit. It starts on a new line, whatever the build wrote last. A line
// break inside text becomes a space, so that text from outside cannot imitate our lines. After Close it does nothing.
func (w *Writer) Line(text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.file != nil {
		w.line(text)
	}
}

// Close syncs the file to the disk and completes the log. It returns the first error of the disk in the life of the log.
// A second Close does nothing.
func (w *Writer) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.file == nil {
		return nil
	}
	if w.lost > 0 {
		w.sayLost()
	}
	err := errors.Join(w.err, w.file.Sync(), w.file.Close())
	w.file = nil
	w.stamps.close()
	w.progress.end()
	w.release()
	if err != nil {
		return fmt.Errorf("console: write log: %w", err)
	}
	return nil
}

// line is Line for callers that hold mu.
func (w *Writer) line(text string) {
	text = oneLine(text)
	if w.midLine {
		text = "\n" + text
	}
	w.put([]byte(text))
}

// put writes p. The caller must hold mu.
func (w *Writer) put(p []byte) {
	if len(p) == 0 {
		return
	}
	if w.lost > 0 && !w.sayLost() {
		w.lost += int64(len(p))
		return
	}
	size, _ := w.progress.state()
	w.stamps.add(size)
	if n, err := w.write(p); err != nil {
		w.lost += int64(len(p) - n)
		if w.err == nil {
			w.err = err
		}
	}
}

// sayLost writes a line about bytes that are missing here, and reports whether that succeeded.
func (w *Writer) sayLost() bool {
	text := fmt.Sprintf("[%d bytes are missing here: %v]\n", w.lost, w.err)
	if w.midLine {
		text = "\n" + text
	}
	if _, err := w.write([]byte(text)); err != nil {
		return false
	}
	w.lost = 0
	return true
}

// write writes p to the file, and shows readers what of it is there.
func (w *Writer) write(p []byte) (int, error) {
	n, err := w.file.Write(p)
	if n > 0 {
		w.midLine = p[n-1] != '\n'
		w.progress.grow(n)
	}
	return n, err
}

// oneLine returns text as exactly one line.
func oneLine(text string) string {
	return strings.NewReplacer("\r\n", " ", "\n", " ", "\r", " ").Replace(text) + "\n"
}

// room returns how many bytes of p to keep within left bytes: all of p, or a part that splits no UTF-8 sequence. A
// sequence that began in tail is completed even if that takes up to three bytes too many, because its beginning is in
// the log already.
func room(tail, p []byte, left int64) int {
	if int64(len(p)) <= left {
		return len(p)
	}
	n := int(max(left, 0))
	if t := len(tail); t > 0 && n < utf8.UTFMax {
		start := append(append(make([]byte, 0, t+utf8.UTFMax), tail...), p[:min(len(p), utf8.UTFMax)]...)
		need := 0
		for t+need < len(start) && !utf8.FullRune(start[:t+need]) && !utf8.RuneStart(start[t+need]) {
			need++
		}
		n = max(n, need)
	}
	return n - len(unfinished(nil, p[:n]))
}

// unfinished returns the beginning of a UTF-8 sequence that tail and p together end in the middle of, or nil.
func unfinished(tail, p []byte) []byte {
	if len(p) < utf8.UTFMax {
		p = append(append(make([]byte, 0, len(tail)+len(p)), tail...), p...)
	}
	for i := len(p) - 1; i >= 0 && i >= len(p)-utf8.UTFMax+1; i-- {
		if utf8.RuneStart(p[i]) {
			if utf8.FullRune(p[i:]) {
				return nil
			}
			return append([]byte(nil), p[i:]...)
		}
	}
	return nil
}
