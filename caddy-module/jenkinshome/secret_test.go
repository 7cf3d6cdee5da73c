package jenkinshome_test

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/buildtoken/buildtoken/caddy-module/jenkinshome"
)

// The keys in testdata and these values were made with openssl.
const (
	envelope   = "{AQAAABAAAAAgAAECAwQFBgcICQoLDA0OD5uS7j+xQcQU0B1s8XTvIOe7TF8ZinhsFk36xJWmcB6H}"
	blocks     = "geLIITHmehoWn2t0NEFLN54qkajxxS6oneeJsU88+nY="
	historical = "xwUcmDUTAVGe/ic42SQ4XaqtAZtEoovbge43wnh1wRQ="
)

func readKey(t *testing.T, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestReveal(t *testing.T) {
	keys, err := jenkinshome.NewKeys(readKey(t, "master.key"), readKey(t, "hudson.util.Secret"), readKey(t, "secret.key"))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ name, in, want string }{
		{"the form of today", envelope, "theNewToken-0123456789"},
		{"the older form", blocks, "theToken"},
		{"the older form with the key of before 2013", historical, "theOldToken"},
		{"a plain word", "TacoTuesday", "TacoTuesday"},
		{"a plain text that could be Base64", "MDEyMzQ1Njc4OWFiY2RlZg==", "MDEyMzQ1Njc4OWFiY2RlZg=="},
		{"a plain text in braces", "{TacoTuesday}", "{TacoTuesday}"},
		{"a length that does not fit is plain text", envelope[:20] + envelope[24:], envelope[:20] + envelope[24:]},
		{"another version is plain text", "{Ag" + envelope[3:], "{Ag" + envelope[3:]},
		{"nothing", "", ""},
		{"a value without its end", envelope[:len(envelope)-1], envelope[:len(envelope)-1]},
		{"a value without its beginning", envelope[1:], envelope[1:]},
		{"a value with something behind it", envelope[:len(envelope)-1] + "!}", envelope[:len(envelope)-1] + "!}"},
		{"a value that is too short", "{AQ==}", "{AQ==}"},
		{"braces alone", "{}", "{}"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got, err := keys.Reveal(tt.in); got != tt.want || err != nil {
				t.Errorf("Reveal(%q) = %q, %v, want %q", tt.in, got, err, tt.want)
			}
		})
	}
	for name, size := range map[string]int{"no data": 0, "data of half a block": 8} {
		value := append([]byte{1, 0, 0, 0, 16, 0, 0, 0, byte(size)}, make([]byte, 16+size)...)
		if got, err := keys.Reveal("{" + base64.StdEncoding.EncodeToString(value) + "}"); !errors.Is(err, jenkinshome.ErrKeys) {
			t.Errorf("Reveal of a value with %s = %q, %v, want %v", name, got, err, jenkinshome.ErrKeys)
		}
	}
	damaged := envelope[:len(envelope)-6] + "n" + envelope[len(envelope)-5:]
	if got, err := keys.Reveal(damaged); !errors.Is(err, jenkinshome.ErrKeys) {
		t.Errorf("Reveal of a damaged value = %q, %v, want %v", got, err, jenkinshome.ErrKeys)
	} else if strings.Contains(err.Error(), damaged[3:10]) {
		t.Errorf("the error shows the value: %v", err)
	}
}

func TestRevealWithoutKeys(t *testing.T) {
	var keys jenkinshome.Keys
	if !keys.Empty() {
		t.Error("the zero value has keys")
	}
	for _, value := range []string{envelope, blocks, historical} {
		if got, err := keys.Reveal(value); !errors.Is(err, jenkinshome.ErrEncrypted) {
			t.Errorf("Reveal(%q) = %q, %v, want %v", value, got, err, jenkinshome.ErrEncrypted)
		}
	}
	for _, text := range []string{"TacoTuesday", ""} {
		if got, err := keys.Reveal(text); got != text || err != nil {
			t.Errorf("Reveal(%q) = %q, %v, want the same text", text, got, err)
		}
	}
}

// encrypted pads a text and encrypts it, in CBC mode with an initialization vector of zeros, or
// each block alone.
func encrypted(t *testing.T, key []byte, text string, chain bool) []byte {
	t.Helper()
	block, err := aes.NewCipher(key)
	if err != nil {
		t.Fatal(err)
	}
	n := aes.BlockSize - len(text)%aes.BlockSize
	return encryptedBlocks(block, []byte(text+strings.Repeat(string(rune(n)), n)), chain)
}

func encryptedBlocks(block cipher.Block, data []byte, chain bool) []byte {
	before := make([]byte, aes.BlockSize)
	for at := 0; at < len(data); at += aes.BlockSize {
		if chain {
			subtle.XORBytes(data[at:], data[at:at+aes.BlockSize], before)
		}
		block.Encrypt(data[at:], data[at:])
		before = data[at : at+aes.BlockSize]
	}
	return data
}

// inEnvelope returns the form of today, with an initialization vector of zeros.
func inEnvelope(data []byte) string {
	head := append([]byte{1, 0, 0, 0, 16, 0, 0, 0, byte(len(data))}, make([]byte, aes.BlockSize)...)
	return "{" + base64.StdEncoding.EncodeToString(append(head, data...)) + "}"
}

const magic = "::::MAGIC::::"

// Texts of all lengths can be read, so with each length of the padding.
func TestRevealLengths(t *testing.T) {
	const master, key = "the content of master.key", "0123456789abcdef"
	sum := sha256.Sum256([]byte(master))
	keys, err := jenkinshome.NewKeys([]byte(master), encrypted(t, sum[:16], key+magic, false), nil)
	if err != nil {
		t.Fatal(err)
	}
	for n := range 2*aes.BlockSize + 1 {
		text := strings.Repeat("x", n)
		for _, value := range []string{
			inEnvelope(encrypted(t, []byte(key), text, true)),
			base64.StdEncoding.EncodeToString(encrypted(t, []byte(key), text+magic, false)),
		} {
			if got, err := keys.Reveal(value); got != text || err != nil {
				t.Errorf("Reveal of %s = %q, %v, want %q", value, got, err, text)
			}
		}
	}
	block, err := aes.NewCipher([]byte(key))
	if err != nil {
		t.Fatal(err)
	}
	for name, padding := range map[string]string{"no padding": "\x00", "too much": strings.Repeat("\x11", 17), "two lengths": "\x01\x02"} {
		value := inEnvelope(encryptedBlocks(block, []byte(strings.Repeat("x", 32-len(padding))+padding), true))
		if got, err := keys.Reveal(value); !errors.Is(err, jenkinshome.ErrKeys) {
			t.Errorf("Reveal of a value with %s = %q, %v, want %v", name, got, err, jenkinshome.ErrKeys)
		}
	}
}

func TestReadKeys(t *testing.T) {
	const tooShort = "0123456789abcde"
	sum := sha256.Sum256([]byte("x"))
	oneLetter := &fstest.MapFile{Data: []byte("x")}
	master, secret := &fstest.MapFile{Data: readKey(t, "master.key")}, &fstest.MapFile{Data: readKey(t, "hudson.util.Secret")}
	for _, tt := range []struct {
		name  string
		files fstest.MapFS
		want  error
		empty bool
	}{
		{"all files", fstest.MapFS{"secrets/master.key": master, "secrets/hudson.util.Secret": secret, "secret.key": master}, nil, false},
		{"no files", fstest.MapFS{}, nil, true},
		{"the historical key alone", fstest.MapFS{"secret.key": master}, nil, false},
		{"a historical key of one letter", fstest.MapFS{"secret.key": {Data: []byte("x")}}, nil, false},
		{"an empty historical key", fstest.MapFS{"secret.key": {Data: []byte{}}}, nil, true},
		{"an empty key", fstest.MapFS{"secrets/master.key": master, "secrets/hudson.util.Secret": {Data: []byte{}}}, jenkinshome.ErrKeys, true},
		{"the other of two", fstest.MapFS{"secrets/hudson.util.Secret": secret}, jenkinshome.ErrKeys, true},
		{"one of two", fstest.MapFS{"secrets/master.key": master}, jenkinshome.ErrKeys, true},
		{"keys of two servers", fstest.MapFS{"secrets/master.key": {Data: []byte("other")}, "secrets/hudson.util.Secret": secret}, jenkinshome.ErrKeys, true},
		{"a key of exactly the right size", fstest.MapFS{"secrets/master.key": oneLetter, "secrets/hudson.util.Secret": {Data: encrypted(t, sum[:16], tooShort+"f"+magic, false)}}, nil, false},
		{"a key that is too short", fstest.MapFS{"secrets/master.key": oneLetter, "secrets/hudson.util.Secret": {Data: encrypted(t, sum[:16], tooShort+magic, false)}}, jenkinshome.ErrKeys, true},
		{"keys of one letter", fstest.MapFS{"secrets/master.key": oneLetter, "secrets/hudson.util.Secret": {Data: []byte{}}}, jenkinshome.ErrKeys, true},
		{"a secret of one letter", fstest.MapFS{"secrets/master.key": {Data: []byte{}}, "secrets/hudson.util.Secret": oneLetter}, jenkinshome.ErrKeys, true},
		{"a key that cannot be read", fstest.MapFS{"secret.key/x": master}, fs.ErrInvalid, true},
		{"a cut key", fstest.MapFS{"secrets/master.key": master, "secrets/hudson.util.Secret": {Data: secret.Data[:100]}}, jenkinshome.ErrKeys, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			keys, err := jenkinshome.ReadKeys(tt.files)
			if !errors.Is(err, tt.want) || keys.Empty() != tt.empty {
				t.Errorf("ReadKeys = empty %t, %v, want %t, %v", keys.Empty(), err, tt.empty, tt.want)
			}
			if one := "only one of master.key and hudson.util.Secret"; strings.HasSuffix(tt.name, " of two") && !strings.Contains(err.Error(), one) {
				t.Errorf("the error is %v, want %q in it", err, one)
			}
		})
	}
}
