package jenkins

import (
	"crypto/rand"
	"net/http"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"
)

const (
	plainText = "text/plain; charset=utf-8"
	jsonText  = "application/json; charset=utf-8"
)

// fail answers an error.
func (q *request) fail(err error) {
	v := verdictOf(err)
	if v.status == http.StatusInternalServerError {
		id := rand.Text()
		q.api.log().Error("request failed", zap.String("request_id", id), zap.String("path", q.r.URL.Path), zap.Error(err))
		v.text = "internal error, request " + id
	}
	h := q.w.Header()
	if v.allow != nil {
		h.Set("Allow", strings.Join(v.allow, ", "))
	}
	if v.retry > 0 {
		h.Set("Retry-After", strconv.Itoa(int((v.retry+time.Second-1)/time.Second)))
	}
	if v.status == http.StatusForbidden {
		h.Set("X-Jenkins", version)
	}
	if q.wantsJSON() {
		q.write(v.status, jsonText, encode(object{{key: "error", value: v.text}}, flavourJSON), "\n")
		return
	}
	q.write(v.status, plainText, v.text, "\n")
}

// write answers with a whole body, which may come in parts.
func (q *request) write(status int, contentType string, parts ...string) {
	size := 0
	for _, part := range parts {
		size += len(part)
	}
	body := make([]byte, 0, size)
	for _, part := range parts {
		body = append(body, part...)
	}
	length := strconv.Itoa(size)
	if size == 0 {
		setAll(q.w.Header(), "Content-Length", length)
	} else {
		setAll(q.w.Header(), "Content-Length", length, "Content-Type", contentType)
	}
	q.w.WriteHeader(status)
	if q.r.Method != http.MethodHead {
		_, _ = q.w.Write(body) // a client that is gone learns nothing
	}
}

// setAll sets headers, given as name and value by turns. The names are in
// canonical form, and the values share one piece of memory.
func setAll(h http.Header, namesAndValues ...string) {
	values := make([]string, len(namesAndValues)/2)
	for i := range values {
		values[i] = namesAndValues[2*i+1]
		h[namesAndValues[2*i]] = values[i : i+1 : i+1]
	}
}
