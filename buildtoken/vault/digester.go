package vault

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"sync"

	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// digesters computes keyed digests of sequences of texts. Two sequences have the same digest only if all
// their texts are equal. It is safe for concurrent use, and keeps what is expensive to make.
type digesters struct{ free sync.Pool }

func newDigesters(key []byte) *digesters {
	return &digesters{sync.Pool{New: func() any { return &digester{mac: hmac.New(sha256.New, key)} }}}
}

// digest returns the digest of the texts that add adds.
func (k *digesters) digest(add func(d *digester)) queue.Digest {
	d, _ := k.free.Get().(*digester)
	defer k.free.Put(d)
	d.mac.Reset()
	add(d)
	return queue.Digest(d.mac.Sum(d.buf[:0]))
}

// digester computes one digest.
type digester struct {
	mac hash.Hash
	// buf passes texts on piece by piece, so that no copy of a password stays
	// in memory. It is cleared after each text.
	buf [512]byte
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
