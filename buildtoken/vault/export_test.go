package vault

import (
	"strings"

	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// DigestOf returns the digest of texts with a key, and what the digester still
// holds of them afterwards, apart from zero bytes.
func DigestOf(key []byte, texts ...string) (sum queue.Digest, left string) {
	d := newDigester(key)
	for _, text := range texts {
		d.add(text)
	}
	return d.sum(), strings.Trim(string(d.buf[:]), "\x00")
}
