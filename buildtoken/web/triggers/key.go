package triggers

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/dunglas/httpsfv"

	"github.com/buildtoken/buildtoken/buildtoken/web"
)

// maxKey bounds an idempotency key, in bytes. A UUID has 36.
const maxKey = 255

// idempotencyKey returns the key by which a client marks requests that are one trigger:
// the header Idempotency-Key, nil if there is none.
//
// draft-ietf-httpapi-idempotency-key-header has a quoted string. Many clients leave the
// quotes out, so a key that needs none may come without.
func idempotencyKey(h http.Header) (*string, error) {
	values := h["Idempotency-Key"]
	if values == nil {
		return nil, nil //nolint:nilnil // the doc comment explains nil
	}
	key, ok := unquote(strings.TrimSpace(values[0]))
	if len(values) > 1 || !ok || key == "" || len(key) > maxKey {
		return nil, &web.BadRequestError{Problem: fmt.Sprintf("Idempotency-Key must be one quoted string of 1 to %d printable ASCII characters", maxKey)}
	}
	return &key, nil
}

// unquote reads a string of a structured field (RFC 9651, 3.3.3), or a bare text of what
// stands for itself in one.
func unquote(given string) (text string, ok bool) {
	if !strings.HasPrefix(given, `"`) {
		return given, !strings.ContainsFunc(given, func(r rune) bool { return r <= ' ' || r >= 0x7f || strings.ContainsRune(`",;\`, r) })
	}
	item, err := httpsfv.UnmarshalItem([]string{given})
	if err != nil || len(item.Params.Names()) > 0 {
		return "", false
	}
	text, ok = item.Value.(string)
	return text, ok
}
