package httpapi

import (
	"crypto/rand"
	"io"
	"net/http"
	"slices"
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
		q.write(v.status, jsonText, encode(object{{key: "error", value: v.text}}, flavourJSON)+"\n")
		return
	}
	q.write(v.status, plainText, v.text+"\n")
}

// write answers with a whole body.
func (q *request) write(status int, contentType, body string) {
	length := strconv.Itoa(len(body))
	if body == "" {
		setAll(q.w.Header(), "Content-Length", length)
	} else {
		setAll(q.w.Header(), "Content-Length", length, "Content-Type", contentType)
	}
	q.w.WriteHeader(status)
	if q.r.Method != http.MethodHead {
		_, _ = io.WriteString(q.w, body) // a client that is gone learns nothing
	}
}

// setAll sets headers, given as name and value by turns. The names are in
// canonical form, and the values share one piece of memory.
func setAll(h http.Header, namesAndValues ...string) {
	values := make([]string, 0, len(namesAndValues)/2)
	for pair := range slices.Chunk(namesAndValues, 2) {
		values = append(values, pair[1])
		last := len(values) - 1
		h[pair[0]] = values[last : last+1 : last+1]
	}
}
