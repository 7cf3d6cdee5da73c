package vault

import (
	"strings"

	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// DigestOf returns the digest of texts with a key, and what the digester still
// holds of them afterwards, apart from zero bytes.
func DigestOf(key []byte, texts ...string) (sum queue.Digest, left string) {
	all := newDigesters(key)
	for range 3 { // the later ones are those of digesters that were used before
		sum = all.digest(func(d *digester) {
			for _, text := range texts {
				d.add(text)
			}
			left = strings.Trim(string(d.buf[:]), "\x00")
		})
	}
	return sum, left
}
