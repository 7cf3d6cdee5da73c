package jenkins

import (
	"fmt"
	"strings"
)

// maxOnce bounds an Idempotency-Key, in bytes. A UUID has 36.
const maxOnce = 255

// once is the key by which a client marks requests that are one trigger: the
// header Idempotency-Key, nil if there is none.
//
// draft-ietf-httpapi-idempotency-key-header has a quoted string; many clients
// leave the quotes out, so what needs none may come without.
func (q *request) once() (*string, error) {
	values := q.r.Header["Idempotency-Key"]
	if values == nil {
		return nil, nil //nolint:nilnil // the doc says what nil means
	}
	given := strings.TrimSpace(values[0])
	key, ok := unquote(given)
	if len(values) > 1 || !ok || key == "" || len(key) > maxOnce {
		return nil, &badRequestError{fmt.Sprintf("Idempotency-Key must be one quoted string of 1 to %d printable ASCII characters", maxOnce)}
	}
	return &key, nil
}

// unquote reads a string as structured fields have it (RFC 9651, 3.3.3), or a
// bare text of what stands for itself in one.
func unquote(given string) (text string, ok bool) {
	inside, quoted := strings.CutPrefix(given, `"`)
	if !quoted {
		return given, !strings.ContainsFunc(given, func(r rune) bool { return r <= ' ' || r >= 0x7f || strings.ContainsRune(`",;\`, r) })
	}
	var b strings.Builder
	for i := 0; i < len(inside); i++ {
		c := inside[i]
		switch {
		case c == '"':
			return b.String(), i == len(inside)-1
		case c == '\\':
			if i++; i == len(inside) || (inside[i] != '"' && inside[i] != '\\') {
				return "", false
			}
			c = inside[i]
		case c < ' ' || c >= 0x7f:
			return "", false
		}
		b.WriteByte(c)
	}
	return "", false
}
