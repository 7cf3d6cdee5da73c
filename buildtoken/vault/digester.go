package vault

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"hash"

	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// digester computes the keyed digest of a sequence of texts. Two sequences
// have the same digest only if all their texts are equal.
type digester struct {
	mac hash.Hash
	// buf passes texts on piece by piece, so that no copy of a password stays
	// in memory. It is cleared after each text.
	buf [512]byte
}

func newDigester(key []byte) *digester {
	return &digester{mac: hmac.New(sha256.New, key)}
}

// add adds a text, with its length in front.
func (d *digester) add(s string) {
	defer clear(d.buf[:])
	d.mac.Write(binary.BigEndian.AppendUint64(d.buf[:0], uint64(len(s))))
	for len(s) > 0 {
		n := copy(d.buf[:], s)
		d.mac.Write(d.buf[:n])
		s = s[n:]
	}
}

// sum returns the digest.
func (d *digester) sum() queue.Digest {
	return queue.Digest(d.mac.Sum(nil))
}
