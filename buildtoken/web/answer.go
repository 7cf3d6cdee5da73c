package web

import (
	"crypto/rand"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"
)

// Content types of answers.
const (
	PlainText = "text/plain; charset=utf-8"
	JSONText  = "application/json; charset=utf-8"
	HTMLText  = "text/html; charset=utf-8"
)

// ContentPolicy is the content security policy of all HTML. It admits only files of this
// module, from the site itself.
const ContentPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"form-action 'self'; frame-ancestors 'none'; base-uri 'none'"

// Refuse returns the verdict of an error and sets the headers that go with it. The
// text of an unexpected error goes to the log, under an id that the client gets.
func (q *Request) Refuse(err error) Verdict {
	v := VerdictOf(err)
	if v.Status == http.StatusInternalServerError {
		id := rand.Text()
		q.Logger().Error("request failed", zap.String("request_id", id), zap.String("path", q.loggedPath()), zap.Error(err))
		v.Text = "internal error, request " + id
		v.Help = "The server's log has the reason under this number."
	}
	h := q.W.Header()
	if v.Allow != nil {
		h.Set("Allow", strings.Join(v.Allow, ", "))
	}
	if v.Retry > 0 {
		h.Set("Retry-After", strconv.Itoa(int((v.Retry+time.Second-1)/time.Second)))
	}
	switch v.Status {
	case http.StatusForbidden:
		q.markJenkins()
	case http.StatusBadRequest:
		h.Set("X-Error", v.Text) // as Jenkins does; clients show it, and api4jenkins fails without it
	}
	return v
}

// loggedPath returns the path without what can be the ID of a share link.
func (q *Request) loggedPath() string {
	if q.Path.At(0) == ByToken {
		return "/" + ByToken + "/" + q.Path.At(1)
	}
	return q.R.URL.Path
}

// Fail answers an error in one line of text, or as JSON if the client wants that.
func (q *Request) Fail(err error) {
	v := q.Refuse(err)
	if q.WantsJSON() {
		q.WriteJSON(v.Status, struct {
			Error string `json:"error"`
		}{v.Text})
		return
	}
	q.Write(v.Status, PlainText, v.Text+"\n")
}

// Write answers with a status and a complete body. An empty body has no type.
func (q *Request) Write(status int, contentType, body string) {
	q.WriteBytes(status, contentType, []byte(body))
}

// WriteBytes is [Request.Write] for a large body, which it does not copy. A client that reads slowly
// keeps the body in memory. If the large bodies of this client, or of all, are too many already, the
// answer is [ErrCrowded].
func (q *Request) WriteBytes(status int, contentType string, body []byte) {
	if len(body) > pieceSize && q.R.Method != http.MethodHead {
		a := q.Answer()
		defer a.Release()
		if err := a.Grow(len(body)); err != nil {
			q.Fail(err)
			return
		}
	}
	if h := q.W.Header(); len(body) == 0 {
		h.Set("Content-Length", "0")
	} else {
		SetAll(h, "Content-Type", contentType, "Content-Length", strconv.Itoa(len(body)))
	}
	q.W.WriteHeader(status)
	if q.R.Method != http.MethodHead {
		_, _ = q.W.Write(body) // an error means that the client is gone
	}
}

// WriteJSON answers with a value as JSON on one line.
func (q *Request) WriteJSON(status int, value any) {
	q.Write(status, JSONText, encodeJSON(value)+"\n")
}

// encodeJSON returns a value as JSON on one line, without escapes for HTML.
func encodeJSON(value any) string {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(value); err != nil { // a bug: values are structs declared for this
		panic(err)
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// SetAll sets headers from alternating names and values. The names must be canonical. The
// values share one piece of memory.
func SetAll(h http.Header, namesAndValues ...string) {
	values := make([]string, len(namesAndValues)/2)
	for i := range values {
		values[i] = namesAndValues[2*i+1]
		h[namesAndValues[2*i]] = values[i : i+1 : i+1]
	}
}
