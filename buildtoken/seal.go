package buildtoken

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"strconv"
	"sync"

	"github.com/buildtoken/buildtoken/buildtoken/job"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/buildtoken/token"
)

// Key keeps password parameters unreadable in the data: it encrypts them, and
// keys the digests by which equal triggers are found.
type Key [32]byte

// Fingerprint tells keys apart, and nothing else about them.
func (k Key) Fingerprint() []byte { return derive(k, "fingerprint") }

// errSealed says that a password can't be opened: the key is another one.
var errSealed = errors.New("a password parameter cannot be opened: the key file is not the one with which it was queued")

// vault seals and opens with one key. It may be used concurrently.
type vault struct {
	aead cipher.AEAD
	mac  *digesters // of values
	once *digesters // of the keys that clients give
}

func newVault(key Key) (vault, error) {
	// Each use has a key of its own.
	block, err := aes.NewCipher(derive(key, "password"))
	if err != nil {
		return vault{}, fmt.Errorf("buildtoken: key: %w", err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return vault{}, fmt.Errorf("buildtoken: key: %w", err)
	}
	return vault{aead: aead, mac: newDigesters(derive(key, "digest")), once: newDigesters(derive(key, "idempotency key"))}, nil
}

func derive(key Key, use string) []byte {
	mac := hmac.New(sha256.New, key[:])
	mac.Write([]byte(use))
	return mac.Sum(nil)
}

// values turns the values of a trigger into those of an item.
func (v vault) values(full string, given []job.Value) []queue.Value {
	if len(given) == 0 {
		return nil
	}
	values := make([]queue.Value, len(given))
	for i, g := range given {
		values[i] = queue.Value{Name: g.Name, Kind: string(g.Kind), Text: g.Text, Ref: g.Ref}
		if g.Kind == job.KindPassword {
			values[i].Text = ""
			values[i].Sealed = v.aead.Seal(nil, nil, []byte(g.Text), []byte(full+"\x00"+g.Name)) //nolint:gosec // this AEAD makes a random nonce itself
		}
	}
	return values
}

// open gives the text of a value.
func (v vault) open(full string, value queue.Value) (string, error) {
	if value.Kind != string(job.KindPassword) {
		return value.Text, nil
	}
	text, err := v.aead.Open(nil, nil, value.Sealed, []byte(full+"\x00"+value.Name))
	if err != nil {
		return "", fmt.Errorf("%w (%s)", errSealed, value.Name)
	}
	return string(text), nil
}

// digest stands for the values: equal ones have equal digests, passwords
// included, and who reads it learns nothing about them without the key.
func (v vault) digest(given []job.Value) queue.Digest {
	if len(given) == 0 {
		return queue.Digest{}
	}
	d := v.mac.get()
	for _, g := range given {
		d.add(g.Name)
		d.add(string(g.Kind))
		d.add(g.Text)
	}
	return d.sum()
}

// onceDigest stands for a key that a client gave, and for the client: the
// token that it showed, or else the user.
func (v vault) onceDigest(given string, t Trigger, opened token.Token) queue.Digest {
	d := v.once.get()
	if t.Presented {
		d.add("token")
		d.add(strconv.Itoa(opened.Level))
		d.add(opened.Name)
	} else {
		d.add("user")
		d.add(t.User)
	}
	d.add(given)
	return d.sum()
}

// digesters are those of one key. They are used again, because a new one costs
// as much as the digest of a trigger.
type digesters struct{ pool sync.Pool }

func newDigesters(key []byte) *digesters {
	all := &digesters{}
	all.pool.New = func() any { return &digester{of: all, mac: hmac.New(sha256.New, key)} }
	return all
}

// get gives one that has no texts yet.
func (all *digesters) get() *digester {
	return all.pool.Get().(*digester) //nolint:forcetypeassert // there is nothing else in it
}

// digester makes a keyed digest of texts, and tells them apart also where one
// ends and the next begins.
type digester struct {
	of  *digesters
	mac hash.Hash
	buf []byte
}

func (d *digester) add(s string) {
	d.buf = append(binary.BigEndian.AppendUint64(d.buf[:0], uint64(len(s))), s...)
	d.mac.Write(d.buf)
}

// sum gives the digest. The digester must not be used any more.
func (d *digester) sum() queue.Digest {
	d.buf = d.mac.Sum(d.buf[:0])
	sum := queue.Digest(d.buf[:len(queue.Digest{})])
	if cap(d.buf) > maxDigested {
		d.buf = nil
	}
	clear(d.buf[:cap(d.buf)]) // it may have held a password
	d.mac.Reset()
	d.of.pool.Put(d)
	return sum
}

// maxDigested is how much memory of a long text a digester keeps, in bytes.
const maxDigested = 4 << 10

// NewKey makes a key.
func NewKey() Key {
	var k Key
	_, _ = rand.Read(k[:]) // never fails
	return k
}
