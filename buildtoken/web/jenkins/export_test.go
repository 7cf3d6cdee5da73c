package jenkins

import (
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken/job"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/buildtoken/web"
)

// What tests outside of the package need to see of it.

// Prefers says whether an Accept header likes a media type better than text.
func Prefers(accept []string, want string) bool { return prefers(accept, want) }

// TimeSpan writes a duration as Jenkins does.
func TimeSpan(d time.Duration) string { return timeSpan(d) }

// SplitPath gives the segments of a path, and what stands alone behind /buildByToken/.
func SplitPath(escaped string) (segments []string, action string) {
	p := splitPath(escaped, make([]string, 4))
	action, _ = p.action()
	return p.segments, action
}

// JobPath reads job/NAME/job/NAME/…
func JobPath(escaped string) (full string, rest []string) { return splitPath(escaped, nil).job() }

// Form is what a request brought.
type Form struct {
	Values    map[string][]string
	Files     []string
	Presented bool
}

// ReadForm reads query and body.
func ReadForm(r *http.Request, limit int64) (Form, error) {
	w := web.NewWriter(httptest.NewRecorder(), r, nil)
	defer w.End()
	f, err := readForm(w, r, func(*form) int64 { return limit })
	defer f.close()
	read := Form{Presented: f.presented}
	for _, p := range f.fields {
		if read.Values == nil {
			read.Values = map[string][]string{}
		}
		read.Values[p.name] = append(read.Values[p.name], p.value)
	}
	for name := range f.files {
		read.Files = append(read.Files, name)
	}
	return read, err
}

// Prune selects of a value made of objects by a tree parameter, and writes what is left.
func Prune(tree string, python bool) (string, error) {
	s, err := parseTree(tree)
	if err != nil {
		return "", err
	}
	inner := object{{"_class", "B"}, {"n", 1}, {"s", "é\"\\\n\u2028\x01"}, {"b", true}, {"z", nil}}
	whole := object{
		{"_class", "A"},
		{"list", []any{link{brief: inner[:2], full: func() object { return inner }}, inner, inner}},
		{"texts", []string{"x", "y", "z"}},
		{"hidden", onDemand(func() any { return []any{inner} })},
		{"one", inner},
		{"number", int64(7)},
	}
	f := flavourJSON
	if python {
		f = flavourPython
	}
	return encode(s.prune(whole), f), nil
}

// StatusOf is the status that an error is answered with.
func StatusOf(err error) int { return verdictOf(err).status }

// WholeRunes is how long a text is without an incomplete character at its end.
func WholeRunes(text string) int { return wholeRunes([]byte(text)) }

// WaitPreference is how long a client prefers to wait.
func WaitPreference(prefer ...string) time.Duration { return waitPreference(prefer) }

// Once is the text of the header Idempotency-Key.
func Once(values ...string) (*string, error) {
	r := httptest.NewRequest(http.MethodPost, "/", nil)
	if values != nil {
		r.Header["Idempotency-Key"] = values
	}
	return (&request{r: r}).once()
}

// Events is what is sent of a log that comes in pieces, to its end.
func Events(pieces ...[]byte) string {
	w := httptest.NewRecorder()
	s := &eventStream{w: w}
	for _, p := range pieces {
		_ = s.write(p) // a recorder takes all
	}
	_ = s.end(queue.Entry{})
	return w.Body.String()
}

// Color is the colour of a job, Marked reports whether a permalink may lead to a build.
func Color(l queue.Lane) string { return color(&job.Job{}, l) }

// Marked reports whether a permalink may lead to a build with a result.
func Marked(name string, r queue.Result) bool {
	fits, ok := marked(name)
	return ok && fits(queue.Build{Result: r})
}

// Why says why an item is not started.
func Why(now time.Time, e queue.Entry, eta string) string { return why(now, e, eta) }
