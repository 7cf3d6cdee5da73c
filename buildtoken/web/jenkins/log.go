package jenkins

import (
	"bufio"
	"errors"
	"io"
	"net/http"
	"strconv"
	"unicode/utf8"

	"github.com/buildtoken/buildtoken/buildtoken"
	"github.com/buildtoken/buildtoken/buildtoken/console"
	"github.com/buildtoken/buildtoken/buildtoken/job"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/buildtoken/web"
)

// consoleText serves the log so far, byte by byte. That of a build without a log is empty.
func (r *reader) consoleText(ctl *buildtoken.Controller, b queue.Build) error {
	if err := r.reading(); err != nil {
		return err
	}
	leave, err := r.EnterStream() // a client can take as long for a large log as for a live one
	if err != nil {
		return err
	}
	defer leave()
	log, err := ctl.Log(r.R.Context(), b.Item.Job, b.Number)
	if errors.Is(err, queue.ErrNotFound) {
		r.Write(http.StatusOK, web.PlainText, "")
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }() // only read
	size := log.Size()
	h := r.W.Header()
	h.Set("Content-Type", web.PlainText)
	var out io.Writer = r.W
	if r.form.Text("ansi") == "none" { // for people, who would see escape sequences as text
		out = &web.PlainWriter{W: out}
	} else {
		h.Set("Content-Length", strconv.FormatInt(size, 10))
	}
	if r.R.Method != http.MethodHead {
		part := log.Part(0, size)
		_, _ = io.Copy(out, part) // another error means that the client is gone
		if err := part.Err(); err != nil {
			r.CutLog(b.Item.Job, err)
		}
	}
	return nil
}

// progressive serves a part of the log, from the offset of the request to the current end.
// X-Text-Size is the offset to continue from: that of the last byte that was sent, whatever
// it was converted to. X-More-Data means that the build is running. It is sent until the end
// is on record, a moment after the log is complete: otherwise clients would look for a
// result too early.
func (r *reader) progressive(ctl *buildtoken.Controller, b queue.Build, contentType string, convert func(*bufio.Writer, byte, byte)) error {
	if err := r.reading(); err != nil {
		return err
	}
	start, err := web.Offset(r.form.First("start"))
	if err != nil {
		return err
	}
	leave, err := r.EnterStream()
	if err != nil {
		return err
	}
	defer leave()
	h := r.W.Header()
	log, err := ctl.Log(r.R.Context(), b.Item.Job, b.Number)
	if errors.Is(err, queue.ErrNotFound) {
		web.SetAll(h, "Content-Type", contentType, "X-Text-Size", "0")
		if b.Running() { // the log is still to come
			h.Set("X-More-Data", "true")
		}
		r.W.WriteHeader(http.StatusOK)
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }() // only read
	size, complete, err := log.Wait(r.R.Context(), -1)
	if err != nil {
		return err
	}
	end := size
	if !complete {
		end = wholeCharacters(log, size)
	}
	if !complete || b.Running() {
		h.Set("X-More-Data", "true")
	}
	if start > size && (complete || !log.Shared()) {
		start = 0 // it is the offset of some other log
	}
	end = max(end, start)
	web.SetAll(h, "Content-Type", contentType, "X-Text-Size", strconv.FormatInt(end, 10))
	r.W.WriteHeader(http.StatusOK)
	if r.R.Method != http.MethodHead {
		if err := send(r.W, log, start, end, convert); err != nil {
			r.CutLog(b.Item.Job, err)
		}
	}
	return nil
}

// wholeCharacters returns the size without an incomplete character at the end. At most
// three bytes are held back.
func wholeCharacters(log *console.Reader, size int64) int64 {
	var tail [utf8.UTFMax - 1]byte
	from := max(0, size-int64(len(tail)))
	n, err := log.ReadAt(tail[:size-from], from)
	if err != nil && !errors.Is(err, io.EOF) {
		return size
	}
	return from + int64(web.WholeRunes(tail[:n]))
}

// send writes a part of the log, each byte converted. It returns only errors of the log.
func send(w io.Writer, log *console.Reader, start, end int64, convert func(out *bufio.Writer, before, b byte)) error {
	var before [1]byte                    // 0 at the start of the log
	_, _ = log.ReadAt(before[:], start-1) // at worst a line ends with two CR
	out := bufio.NewWriterSize(w, 32<<10)
	part := log.Part(start, end)
	in := bufio.NewReaderSize(part, 32<<10)
	for last := before[0]; ; {
		b, err := in.ReadByte()
		if err != nil {
			break
		}
		convert(out, last, b)
		last = b
	}
	_ = out.Flush() // an error means that the client is gone
	return part.Err()
}

// crlf ends lines with CR LF, as Jenkins does only here.
func crlf(out *bufio.Writer, before, b byte) {
	if b == '\n' && before != '\r' {
		_ = out.WriteByte('\r') // Flush returns the error
	}
	_ = out.WriteByte(b)
}

// crlfHTML also escapes characters with a meaning in HTML.
func crlfHTML(out *bufio.Writer, before, b byte) {
	entity := ""
	switch b {
	case '&':
		entity = "&amp;"
	case '<':
		entity = "&lt;"
	case '>':
		entity = "&gt;"
	case '"':
		entity = "&quot;"
	case '\'':
		entity = "&#39;"
	default:
		crlf(out, before, b)
	}
	_, _ = out.WriteString(entity)
}

// pollLog serves the log of the job's last poll.
func (r *reader) pollLog(j *job.Job) error {
	if err := r.reading(); err != nil {
		return err
	}
	ctl, err := r.Controller()
	if err != nil {
		return err
	}
	log, err := ctl.PollLog(j.FullName)
	if err != nil {
		return err
	}
	r.Write(http.StatusOK, web.PlainText, string(log))
	return nil
}
