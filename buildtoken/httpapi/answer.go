package httpapi

import (
	"crypto/rand"
	"io"
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
		q.write(v.status, jsonText, encode(object{{key: "error", value: v.text}}, flavourJSON)+"\n")
		return
	}
	q.write(v.status, plainText, v.text+"\n")
}

// write answers with a whole body.
func (q *request) write(status int, contentType, body string) {
	h := q.w.Header()
	if body != "" {
		h.Set("Content-Type", contentType)
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	q.w.WriteHeader(status)
	if q.r.Method != http.MethodHead {
		_, _ = io.WriteString(q.w, body) // a client that is gone learns nothing
	}
}
