package jenkins

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/url"
	"os"
	"strings"
	"unicode/utf8"

	"github.com/buildtoken/buildtoken/buildtoken/token"
	"github.com/buildtoken/buildtoken/buildtoken/web"
)

// Limits of what a request may bring.
const (
	maxBody       = 1 << 20  // bytes
	maxUploadBody = 32 << 20 // bytes, if the job has a file parameter
	maxValues     = 10_000   // in query and body together
	maxInMemory   = 1 << 20  // bytes of uploads; the rest waits in temporary files
)

// form is what a request brought in its query, and in a form or multipart
// body. Of several values of one name, those of the query come first.
type form struct {
	fields []field
	few    [4]field // where fields begin
	files  map[string][]*multipart.FileHeader
	// secret is the first token; presented says whether there was one at all.
	// Its text is not in fields.
	secret    token.Secret
	presented bool
	// size is how many bytes the body had, as far as they were read.
	size int64

	count     int
	multipart *multipart.Form
}

// field is one value.
type field struct{ name, value string }

// badRequestError says what of a request cannot be read.
type badRequestError struct{ problem string }

func (e *badRequestError) Error() string { return e.problem }

// tooLargeError says that a body is larger than it may be.
type tooLargeError struct{ limit int64 }

func (e *tooLargeError) Error() string {
	return fmt.Sprintf("the body is larger than %d bytes", e.limit)
}

// close removes what an upload left in temporary files.
func (f *form) close() {
	if f.multipart != nil {
		_ = f.multipart.RemoveAll() // what can't be removed is the system's to sweep
	}
}

// drop closes the form and lets go of all that it holds, for who goes on for
// a while without.
func (f *form) drop() {
	f.close()
	*f = form{}
}

// first is the first value of a name, nil if there is none.
func (f *form) first(name string) *string {
	for i := range f.fields {
		if f.fields[i].name == name {
			return &f.fields[i].value
		}
	}
	return nil
}

// text is the first value of a name, "" if there is none.
func (f *form) text(name string) string {
	if v := f.first(name); v != nil {
		return *v
	}
	return ""
}

func (f *form) add(name, value string) error {
	if f.count++; f.count > maxValues {
		return &badRequestError{fmt.Sprintf("too many parameters, at most %d", maxValues)}
	}
	if name == "token" {
		if !f.presented {
			f.presented, f.secret = true, token.NewSecret(value)
		}
		return nil
	}
	f.fields = append(f.fields, field{name, value})
	return nil
}

// addEncoded reads a query, or a form's body. where names it in errors, which
// never show any of it: a token may be on either side of the mistake.
func (f *form) addEncoded(where, encoded string) error {
	for encoded != "" {
		var pair string
		pair, encoded, _ = strings.Cut(encoded, "&")
		if pair == "" {
			continue
		}
		if strings.Contains(pair, ";") {
			// Some take it for &, some for itself: a log would hide one thing and we read another.
			return &badRequestError{"malformed " + where + ": write a semicolon as %3B"}
		}
		name, value, _ := strings.Cut(pair, "=")
		name, err := url.QueryUnescape(name)
		if err == nil {
			value, err = url.QueryUnescape(value)
		}
		if err != nil {
			return &badRequestError{"malformed " + where + ": a % must be followed by two hexadecimal digits"}
		}
		if err := f.add(name, value); err != nil {
			return err
		}
	}
	return nil
}

// check looks at the names, and at the values that we read ourselves; those
// of parameters are the job's to check.
func (f *form) check() error {
	for i := range f.fields {
		if problem := textProblem(f.fields[i].name); problem != "" {
			return &badRequestError{"the name of a parameter " + problem}
		}
	}
	for _, name := range []string{"job", "delay", "cause", "item", "start"} {
		if problem := textProblem(f.text(name)); problem != "" {
			return &badRequestError{name + " " + problem}
		}
	}
	return nil
}

func textProblem(s string) string {
	switch {
	case !utf8.ValidString(s):
		return "is not valid UTF-8"
	case strings.Contains(s, "\x00"):
		return "holds a NUL character"
	}
	return ""
}

// readForm reads the query and the body, whose limit may hang on the query.
// The caller closes the form, also if there was an error.
func readForm(w *web.Writer, r *http.Request, limit func(*form) int64) (*form, error) {
	f := &form{}
	f.fields = f.few[:0]
	queryErr := f.addEncoded("query", r.URL.RawQuery)
	// A body that is too large is the first thing to say, whatever the query is.
	if err := f.readBody(w, r, limit); err != nil {
		if tooLarge := (*tooLargeError)(nil); queryErr == nil || errors.As(err, &tooLarge) {
			return f, err
		}
	}
	if queryErr != nil {
		return f, queryErr
	}
	return f, f.check()
}

func (f *form) readBody(w *web.Writer, r *http.Request, limitOf func(*form) int64) error {
	if r.Body == nil || r.Body == http.NoBody || r.ContentLength == 0 {
		return nil
	}
	limit := limitOf(f)
	if r.ContentLength > limit {
		return &tooLargeError{limit}
	}
	body := &countingReader{from: http.MaxBytesReader(w.Unwrap(), r.Body, limit)}
	err := f.parseBody(r.Header.Get("Content-Type"), body)
	f.size = max(body.n, r.ContentLength)
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge) || errors.As(body.err, &tooLarge):
		return &tooLargeError{limit}
	case errors.Is(body.err, os.ErrDeadlineExceeded):
		return errSlowBody
	case err == nil:
		w.BodyRead()
	}
	return err
}

// parseBody reads a form. Of what is none, such as the JSON of a webhook, it
// reads only how long it is: the server would wait for it too, but without bound.
func (f *form) parseBody(contentType string, body io.Reader) error {
	kind, params, err := mime.ParseMediaType(contentType)
	if err != nil {
		kind = ""
	}
	switch kind {
	case "application/x-www-form-urlencoded":
		text, err := io.ReadAll(body)
		if err != nil {
			return readError("form", err)
		}
		return f.addEncoded("form", string(text))
	case "multipart/form-data":
		if err := f.parseMultipart(body, params["boundary"]); err != nil {
			return err
		}
	}
	// Also behind the last file: net/http notices only after all of the body
	// that a client is gone.
	if _, err := io.Copy(io.Discard, body); err != nil {
		return readError("body", err)
	}
	return nil
}

func (f *form) parseMultipart(body io.Reader, boundary string) error {
	if boundary == "" {
		return &badRequestError{"malformed multipart body: no boundary"}
	}
	read, err := multipart.NewReader(body, boundary).ReadForm(maxInMemory)
	if err != nil {
		return readError("multipart body", err)
	}
	f.multipart, f.files = read, read.File
	for name, values := range read.Value {
		for _, v := range values {
			if err := f.add(name, v); err != nil {
				return err
			}
		}
	}
	for name, files := range read.File {
		if problem := textProblem(name); problem != "" {
			return &badRequestError{"the name of a file " + problem}
		}
		if len(files) > 1 {
			return &badRequestError{fmt.Sprintf("%d files for parameter %.200q", len(files), name)}
		}
		if f.count += len(files); f.count > maxValues {
			return &badRequestError{fmt.Sprintf("too many parameters, at most %d", maxValues)}
		}
	}
	return nil
}

// readError keeps what tells the limit apart, and shows nothing of the body.
func readError(what string, err error) error {
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return err
	case errors.Is(err, multipart.ErrMessageTooLarge):
		return &badRequestError{"the " + what + " has too many parts, or too large ones"}
	}
	return &badRequestError{"malformed " + what}
}

// countingReader counts what was read, and keeps the error that ended it: a
// parser may say something else of it.
type countingReader struct {
	from io.Reader
	n    int64
	err  error
}

// Read implements [io.Reader].
func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.from.Read(p)
	c.n += int64(n)
	if err != nil {
		c.err = err
	}
	return n, err
}
