package web

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"os"

	"go.uber.org/zap"
)

// FormOptions control how a request's form is read. The zero value reads query and body.
type FormOptions struct {
	// BodyOnly ignores the query, and refuses a body that is not a form.
	BodyOnly bool
	// Large reports whether a multipart body may be larger than [MaxBody], up to
	// [MaxUploadBody]. It is called at most once, when the body turns out to be larger,
	// with the values that were read before. Nil never allows it.
	Large func(*Form) bool
	// NamedInPath reports whether the path names the job. If not, the query may.
	NamedInPath bool
}

// ReadForm reads the query and the body of the request. The caller must close the form.
//
// At most 1 MiB of a body is kept in memory; files beyond that are written to the data
// directory as they come. A body that is not a form, such as the JSON of a webhook, is
// discarded as it comes, and so is one that is only declared as a form and begins with
// { or [. All bodies in flight together have one limit, after which the answer is [ErrBusy].
func (q *Request) ReadForm(o FormOptions) (*Form, error) {
	f := &Form{}
	f.fields = f.room[:0]
	if err := q.readForm(f, o); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func (q *Request) readForm(f *Form, o FormOptions) error {
	var queryErr error
	if !o.BodyOnly {
		queryErr = f.addEncoded("query", q.R.URL.RawQuery)
	}
	err := q.readBody(f, o)
	// A body that is too large is the first thing to report, whatever the query is.
	if _, tooLarge := errors.AsType[*TooLargeError](err); queryErr != nil && !tooLarge {
		return queryErr
	}
	if err != nil {
		return err
	}
	return f.check()
}

func (q *Request) readBody(f *Form, o FormOptions) error {
	r := q.R
	if r.Body == nil || r.Body == http.NoBody || r.ContentLength == 0 {
		return nil
	}
	f.held = q.holdOf(&q.inFlight().bodies)
	b := &body{form: f, o: o, from: r.Body, limit: MaxUploadBody, spool: q.spool}
	err := b.read(r)
	switch {
	case errors.Is(err, errLimit), errors.Is(b.err, errLimit):
		return &TooLargeError{Limit: b.limit, NeedsToken: b.multi && o.Large != nil && b.limit < MaxUploadBody}
	case errors.Is(b.err, os.ErrDeadlineExceeded):
		return ErrSlowBody
	case errors.Is(b.err, ErrBusy):
		return ErrBusy
	case errors.Is(err, ErrSpool):
		q.Logger().Error("body of a request could not be stored", zap.Error(err))
	case err == nil:
		q.W.BodyRead()
	}
	return err
}

// body is a body that is being read. It keeps the error that ended it, which a parser
// may replace by another.
type body struct {
	form *Form
	o    FormOptions
	from io.Reader
	n    int64
	// limit is how many bytes may be read. multi is set for a multipart body: its limit can be raised,
	// which shows that the client may send a large one.
	limit  int64
	multi  bool
	weight int64 // of a byte that is read, see maxInFlight
	used   int   // bytes of values and files that are kept in memory
	spool  func() (*os.File, error)
	err    error
}

// errLimit reports that the body is larger than its limit.
var errLimit = errors.New("web: body larger than its limit")

// Read implements [io.Reader].
func (b *body) Read(p []byte) (int, error) {
	n, err := b.from.Read(p)
	b.n += int64(n)
	switch {
	case b.n > b.limit && !b.raise():
		n, err = 0, errLimit
	case !b.take(int64(n)):
		n, err = 0, ErrBusy
	}
	if err != nil {
		b.err = err
	}
	return n, err
}

// take takes n bytes from the budget of all bodies. They do not count for the client once its limit
// was raised.
func (b *body) take(n int64) bool {
	if b.limit == MaxUploadBody && b.multi {
		return b.form.held.take(n * b.weight)
	}
	return b.form.held.takeUnproven(n * b.weight)
}

// raise raises the limit, if that is allowed.
func (b *body) raise() bool {
	if !b.multi || b.limit == MaxUploadBody || b.o.Large == nil || !b.o.Large(b.form) {
		return false
	}
	b.limit = MaxUploadBody
	return b.n <= b.limit
}

// read reads the body by its content type. It reads on past a form to the end:
// net/http notices only then that a client is gone.
func (b *body) read(r *http.Request) error {
	kind, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil {
		kind = ""
	}
	boundary, isParts := params["boundary"], kind == "multipart/form-data"
	refused := isParts && !b.mayBe(r.ContentLength)
	if refused && boundary != "" && r.Header.Get("Expect") != "" { // the client has sent nothing of it yet
		return errLimit
	}
	in := bufio.NewReaderSize(b, 512)
	isForm := isParts || kind == "application/x-www-form-urlencoded"
	switch {
	case isForm && !b.o.BodyOnly && startsAsJSON(in):
		b.multi, b.limit = false, MaxUploadBody
	case refused:
		return errLimit
	case isParts:
		return b.readMultipart(in, boundary)
	case isForm:
		return b.readEncoded(in, r.ContentLength)
	case b.o.BodyOnly:
		return &BadRequestError{"the body is not a form"}
	}
	if r.ContentLength > b.limit {
		return errLimit
	}
	return discard(in)
}

// mayBe begins a multipart body, and reports whether it may have the length that the
// client declares. -1 is an unknown length.
func (b *body) mayBe(length int64) bool {
	b.multi, b.limit = true, MaxBody
	known := length > MaxBody && (b.o.NamedInPath || b.form.Text("job") != "")
	return (!known || b.raise()) && length <= MaxUploadBody
}

// startsAsJSON reports whether a body that is declared as a form begins as JSON does.
func startsAsJSON(in *bufio.Reader) bool {
	start, _ := in.Peek(1)
	return len(start) == 1 && (start[0] == '{' || start[0] == '[')
}

func discard(rest io.Reader) error {
	if _, err := io.Copy(io.Discard, rest); err != nil {
		return &BadRequestError{"malformed body"}
	}
	return nil
}

// readEncoded reads a form.
func (b *body) readEncoded(in *bufio.Reader, length int64) error {
	if b.limit = MaxBody; length > b.limit {
		return errLimit
	}
	b.weight = memoryWeight
	text, err := io.ReadAll(in)
	if err != nil {
		return &BadRequestError{"malformed form"}
	}
	return b.form.addEncoded("form", string(text))
}

// readMultipart reads the parts one by one, and what follows them.
func (b *body) readMultipart(from *bufio.Reader, boundary string) error {
	if boundary == "" {
		return &BadRequestError{"malformed multipart body: no boundary"}
	}
	in := multipart.NewReader(from, boundary)
	for parts := 0; ; parts++ {
		b.weight = memoryWeight
		p, err := in.NextPart()
		switch {
		case err == io.EOF: // as it comes: a wrapped one is an unexpected end
			b.weight = 0
			return discard(from)
		case errors.Is(err, multipart.ErrMessageTooLarge), err == nil && parts == maxParts:
			return &BadRequestError{"the multipart body has too many parts, or too large ones"}
		case err != nil:
			return errMalformedParts
		}
		if err := b.readPart(p); err != nil {
			return err
		}
	}
}

var errMalformedParts = &BadRequestError{"malformed multipart body"}

// readPart reads one part. A value must fit into memory, a file need not.
func (b *body) readPart(p *multipart.Part) error {
	name, filename, isFile, f := p.FormName(), p.FileName(), isFile(p), b.form
	if name == "" {
		return nil // net/http ignores such parts, too
	}
	if isFile {
		if err := f.addFile(name, filename); err != nil {
			return err
		}
	}
	room := MaxBody - b.used
	text, err := io.ReadAll(io.LimitReader(p, int64(room)+1))
	switch {
	case err != nil:
		return errMalformedParts
	case len(text) <= room:
		b.used += len(text)
		if isFile {
			f.files[len(f.files)-1].keep(bytes.NewReader(text), int64(len(text)))
			return nil
		}
		return f.Add(name, string(text))
	case isFile:
		return b.spoolFile(f.files[len(f.files)-1], text, p)
	}
	b.limit, b.multi = MaxBody, false // of all values together
	return errLimit
}

// spoolFile writes a file to the data directory.
func (b *body) spoolFile(file *part, start []byte, rest io.Reader) error {
	out, err := b.spool()
	if err != nil {
		return err
	}
	b.form.held.files = append(b.form.held.files, out)
	b.weight = 1
	n, err := out.Write(start)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrSpool, err)
	}
	more, err := io.Copy(spooling{out}, rest)
	if err != nil && !errors.Is(err, ErrSpool) {
		return errMalformedParts
	}
	file.keep(out, int64(n)+more)
	return err
}

// spooling marks the errors of writing, to distinguish them from those of the client.
type spooling struct{ *os.File }

// Write implements [io.Writer].
func (s spooling) Write(p []byte) (int, error) {
	n, err := s.File.Write(p)
	if err != nil {
		err = fmt.Errorf("%w: %w", ErrSpool, err)
	}
	return n, err
}

// ReadFrom keeps [io.Copy] from using that of the file, which does not mark errors.
func (s spooling) ReadFrom(r io.Reader) (int64, error) {
	return io.Copy(struct{ io.Writer }{s}, r)
}

// isFile reports whether a part is a file, even one without a name.
func isFile(p *multipart.Part) bool {
	_, params, _ := mime.ParseMediaType(p.Header.Get("Content-Disposition"))
	_, named := params["filename"]
	return named || p.FileName() != ""
}
