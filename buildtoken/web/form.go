package web

import (
	"fmt"
	"io"
	"net/url"
	"strings"
	"unicode/utf8"

	"github.com/buildtoken/buildtoken/buildtoken"
	"github.com/buildtoken/buildtoken/buildtoken/token"
)

// Limits of the form of a request.
const (
	// MaxBody is the maximum size of a form, in bytes.
	MaxBody = 1 << 20
	// MaxUploadBody is the maximum size in bytes of a multipart body with files, if the
	// caller may send one, and of a body that is discarded because it is not a form.
	MaxUploadBody = 32 << 20

	maxValues = 10_000 // in query and body together
	maxParts  = 1_000  // of a multipart body
)

// Form holds the values and files of a request, from its query and from a form or multipart
// body. Of several values with one name, those of the query come first. The caller must
// close it.
type Form struct {
	fields []field
	room   [4]field // for fields; enough for most requests
	files  []*part
	// Secret is the first token; Presented reports whether there was one at all. Its
	// text is not among the values.
	Secret    token.Secret
	Presented bool

	count int
	held  hold
}

// field is one value.
type field struct{ name, value string }

// part is one file of a multipart body.
type part struct {
	name, filename string
	content        io.ReaderAt
	size           int64
}

// First returns the first value of a name, nil if there is none. It stays when the form is closed.
func (f *Form) First(name string) *string {
	if i := f.index(name); i >= 0 {
		value := f.fields[i].value
		return &value
	}
	return nil
}

// Text returns the first value of a name, "" if there is none.
func (f *Form) Text(name string) string {
	if i := f.index(name); i >= 0 {
		return f.fields[i].value
	}
	return ""
}

// index returns where the first value of a name is, -1 if there is none.
func (f *Form) index(name string) int {
	for i := range f.fields {
		if f.fields[i].name == name {
			return i
		}
	}
	return -1
}

// Values returns the values by name, without the names that are left out; nil if there are none.
func (f *Form) Values(without ...string) map[string][]string {
	var all map[string][]string
fields:
	for _, p := range f.fields {
		for _, name := range without {
			if p.name == name {
				continue fields
			}
		}
		if all == nil {
			all = make(map[string][]string, len(f.fields))
		}
		all[p.name] = append(all[p.name], p.value)
	}
	return all
}

// Uploads returns the files by name, nil if there are none. They can be read until
// the form is closed. A browser sends a file that was not chosen without a name; if
// chosen is set, such a file is left out.
func (f *Form) Uploads(chosen bool) map[string]buildtoken.Upload {
	var all map[string]buildtoken.Upload
	for _, p := range f.files {
		if chosen && p.filename == "" {
			continue
		}
		if all == nil {
			all = make(map[string]buildtoken.Upload, len(f.files))
		}
		all[p.name] = buildtoken.Upload{Name: p.filename, Size: p.size, Open: func() (io.ReadCloser, error) {
			return io.NopCloser(io.NewSectionReader(p.content, 0, p.size)), nil
		}}
	}
	return all
}

// addFile adds a file without its content.
func (f *Form) addFile(name, filename string) error {
	if f.count++; f.count > maxValues {
		return &BadRequestError{fmt.Sprintf("too many parameters, at most %d", maxValues)}
	}
	if problem := textProblem(name); problem != "" {
		return &BadRequestError{"the name of a file " + problem}
	}
	for _, other := range f.files {
		if other.name == name {
			return &BadRequestError{fmt.Sprintf("2 files for parameter %.200q", name)}
		}
	}
	f.files = append(f.files, &part{name: name, filename: filename})
	return nil
}

// keep sets the content of a file.
func (p *part) keep(content io.ReaderAt, size int64) { p.content, p.size = content, size }

// Close releases the memory and files of the form. A caller that waits for long should close
// it first. It may be called again.
func (f *Form) Close() {
	f.held.release()
	*f = Form{}
}

// Add adds a value; one of the name "token" becomes the Secret, if it is the first. It returns an
// error if there are too many.
func (f *Form) Add(name, value string) error {
	if f.count++; f.count > maxValues {
		return &BadRequestError{fmt.Sprintf("too many parameters, at most %d", maxValues)}
	}
	if name == "token" {
		if !f.Presented {
			f.Presented, f.Secret = true, token.NewSecret(value)
		}
		return nil
	}
	f.fields = append(f.fields, field{name, value})
	return nil
}

// addEncoded reads a query, or the body of a form. where names it in errors, which
// never show any of it: a token may stand on either side of the mistake.
func (f *Form) addEncoded(where, encoded string) error {
	for encoded != "" {
		var pair string
		pair, encoded, _ = strings.Cut(encoded, "&")
		if pair == "" {
			continue
		}
		if strings.Contains(pair, ";") {
			// Some programs take it for &, so a proxy's log might show what is hidden here.
			return &BadRequestError{"malformed " + where + ": write a semicolon as %3B"}
		}
		name, value, _ := strings.Cut(pair, "=")
		name, err := url.QueryUnescape(name)
		if err == nil {
			value, err = url.QueryUnescape(value)
		}
		if err != nil {
			return &BadRequestError{"malformed " + where + ": a % must be followed by two hexadecimal digits"}
		}
		if err := f.Add(name, value); err != nil {
			return err
		}
	}
	return nil
}

// check checks the names, and the values that are read here; those of parameters are
// for the job to check.
func (f *Form) check() error {
	for i := range f.fields {
		if problem := textProblem(f.fields[i].name); problem != "" {
			return &BadRequestError{"the name of a parameter " + problem}
		}
	}
	for _, name := range []string{"job", "delay", "cause", "item", "start"} {
		if problem := textProblem(f.Text(name)); problem != "" {
			return &BadRequestError{name + " " + problem}
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
