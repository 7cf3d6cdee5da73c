// Package share makes and checks the links that show one build to anyone who has them.
//
// The ID of a link is a signature and what it is about: an item, a job, and when it ends. The
// signature also covers the token for which the link was made, so a token that is removed, moved
// or changed takes its links with it. Nothing is stored.
package share

import (
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"strconv"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/buildtoken/token"
	"github.com/buildtoken/buildtoken/buildtoken/vault"
)

// Keep is how long a link is valid.
const Keep = 30 * 24 * time.Hour

// Link is what a link shows.
type Link struct {
	// Item is the item, Job the full name of its job.
	Item int64
	Job  string

	expires   int64 // Unix time in seconds
	signature queue.Digest
}

// headSize is the length of what precedes the job's name in an ID: signature, item and expiry.
const headSize = len(queue.Digest{}) + 8 + 8

// sign returns the signature of a link for a token. It changes with everything that it covers.
func (l Link) sign(v *vault.Vault, t token.Token) queue.Digest {
	return v.SignShare(strconv.FormatInt(l.Item, 10), strconv.FormatInt(l.expires, 10), l.Job,
		strconv.Itoa(t.Level), t.Name, string(t.Digest[:]))
}

// ID returns the ID of a new link for the holder of a token.
func (l Link) ID(now time.Time, v *vault.Vault, t token.Token) string {
	l.expires = now.Add(Keep).Unix()
	signature := l.sign(v, t)
	id := binary.BigEndian.AppendUint64(signature[:], uint64(l.Item)) //nolint:gosec // read back as it is written
	id = binary.BigEndian.AppendUint64(id, uint64(l.expires))         //nolint:gosec // read back as it is written
	return base64.RawURLEncoding.EncodeToString(append(id, l.Job...))
}

// Read splits the ID of a link, without checking it. Every link has one ID only.
func Read(id string) (l Link, ok bool) {
	text, err := base64.RawURLEncoding.DecodeString(id)
	if err != nil || len(text) <= headSize || base64.RawURLEncoding.EncodeToString(text) != id {
		return l, false
	}
	n := copy(l.signature[:], text)
	l.Item = int64(binary.BigEndian.Uint64(text[n:]))      //nolint:gosec // the signature covers it
	l.expires = int64(binary.BigEndian.Uint64(text[n+8:])) //nolint:gosec // the signature covers it
	l.Job = string(text[headSize:])
	return l, true
}

// Valid reports whether a link was made for one of the tokens, which has not expired and still
// grants links, and is not too old.
func (l Link) Valid(now time.Time, v *vault.Vault, tokens token.Set) bool {
	valid := 0
	for t := range tokens.All() {
		want := l.sign(v, t)
		if same := subtle.ConstantTimeCompare(l.signature[:], want[:]); t.Grants.Has(token.Share) && !t.Expired(now) {
			valid |= same
		}
	}
	return valid == 1 && now.Unix() < l.expires
}
