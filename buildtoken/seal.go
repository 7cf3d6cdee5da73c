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

	"github.com/buildtoken/buildtoken/buildtoken/job"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/buildtoken/token"
)

// Key keeps password parameters unreadable in the data: it encrypts them, and
// keys the digests by which equal triggers are found.
type Key [32]byte

// errSealed says that a password can't be opened: the key is another one.
var errSealed = errors.New("a password parameter cannot be opened: the key file is not the one with which it was queued")

// vault seals and opens with one key. It is immutable.
type vault struct {
	aead cipher.AEAD
	mac  [32]byte // of values
	once [32]byte // of the keys that clients give
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
	return vault{aead: aead, mac: [32]byte(derive(key, "digest")), once: [32]byte(derive(key, "idempotency key"))}, nil
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
	d := newDigester(v.mac)
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
	d := newDigester(v.once)
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

// digester makes a keyed digest of texts, and tells them apart also where one
// ends and the next begins.
type digester struct {
	mac  hash.Hash
	size [8]byte
}

func newDigester(key [32]byte) *digester { return &digester{mac: hmac.New(sha256.New, key[:])} }

func (d *digester) add(s string) {
	binary.BigEndian.PutUint64(d.size[:], uint64(len(s)))
	d.mac.Write(d.size[:])
	d.mac.Write([]byte(s))
}

func (d *digester) sum() queue.Digest { return queue.Digest(d.mac.Sum(nil)[:len(queue.Digest{})]) }

// NewKey makes a key.
func NewKey() Key {
	var k Key
	_, _ = rand.Read(k[:]) // never fails
	return k
}
