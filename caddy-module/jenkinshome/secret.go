package jenkinshome

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
)

var (
	// ErrKeys is returned for files of keys that do not belong together or are damaged.
	ErrKeys = errors.New("jenkinshome: unusable keys")
	// ErrEncrypted is returned for a value that is encrypted, or may be, with keys that are not there.
	ErrEncrypted = errors.New("jenkinshome: encrypted, and the keys are missing")
)

// magic ends what Jenkins has encrypted, which shows that the key was the right one.
const magic = "::::MAGIC::::"

// keySize is that of AES-128.
const keySize = 16

// Keys are the keys with which a Jenkins encrypts values in its files. The zero value has
// none. They are never printed.
type Keys struct {
	current    []byte // of hudson.util.Secret; nil if unknown
	historical []byte // of secret.key, for values from before 2013; nil if unknown
}

// NewKeys derives the keys from the content of three files: secrets/master.key and
// secrets/hudson.util.Secret, which belong together, and secret.key, which can be missing (nil).
func NewKeys(masterKey, hudsonUtilSecret, secretKey []byte) (Keys, error) {
	var keys Keys
	if len(masterKey) > 0 || len(hudsonUtilSecret) > 0 {
		master := sha256.Sum256(bytes.TrimSpace(masterKey))
		key, ok := decryptBlocks(master[:keySize], hudsonUtilSecret)
		if !ok || len(key) < keySize {
			return Keys{}, fmt.Errorf("%w: hudson.util.Secret was not encrypted with this master.key", ErrKeys)
		}
		keys.current = key[:keySize]
	}
	if len(secretKey) > 0 {
		sum := sha256.Sum256(bytes.TrimSpace(secretKey))
		keys.historical = sum[:keySize]
	}
	return keys, nil
}

// Empty reports whether there are no keys.
func (k Keys) Empty() bool { return k.current == nil && k.historical == nil }

// Reveal returns the text of a value: decrypted if it is encrypted, else as it is. Jenkins has
// two forms of encryption. Values in the older one look like any Base64 text, so only
// decrypting shows whether a value has it. Without keys, the error is [ErrEncrypted] for
// values of both forms. The error shows no part of the value.
func (k Keys) Reveal(value string) (text string, err error) {
	if initial, data, ok := enveloped(value); ok {
		if k.current == nil {
			return "", ErrEncrypted
		}
		plain, ok := decryptChain(k.current, initial, data)
		if !ok {
			return "", fmt.Errorf("%w: they do not fit the value", ErrKeys)
		}
		return string(plain), nil
	}
	data, err := base64.StdEncoding.DecodeString(value)
	if err != nil || len(data) == 0 || len(data)%aes.BlockSize != 0 {
		return value, nil //nolint:nilerr // what is no Base64 is plain text
	}
	for _, key := range [][]byte{k.current, k.historical} {
		if plain, ok := decryptBlocks(key, data); ok { // not with a key that is missing
			return string(plain), nil
		}
	}
	if k.current == nil {
		return "", ErrEncrypted
	}
	return value, nil
}

// enveloped returns the parts of a value like {AQAAABAAAA…}: a version, two lengths, the
// initialization vector and the data. A value whose lengths do not fit is no such value.
func enveloped(value string) (initial, data []byte, ok bool) {
	inner, opened := strings.CutPrefix(value, "{")
	inner, closed := strings.CutSuffix(inner, "}")
	if !opened || !closed {
		return nil, nil, false
	}
	all, err := base64.StdEncoding.DecodeString(inner)
	const header = 1 + 4 + 4
	if err != nil || len(all) < header || all[0] != 1 {
		return nil, nil, false
	}
	initialSize, dataSize := uint64(binary.BigEndian.Uint32(all[1:])), uint64(binary.BigEndian.Uint32(all[5:]))
	if initialSize != aes.BlockSize || uint64(len(all)) != header+initialSize+dataSize {
		return nil, nil, false
	}
	return all[header : header+initialSize], all[header+initialSize:], true
}

// decryptChain decrypts AES in CBC mode.
func decryptChain(key, initial, data []byte) ([]byte, bool) {
	block, err := aes.NewCipher(key)
	if err != nil || len(data) == 0 || len(data)%aes.BlockSize != 0 {
		return nil, false
	}
	plain := make([]byte, len(data))
	cipher.NewCBCDecrypter(block, initial).CryptBlocks(plain, data)
	return unpad(plain)
}

// decryptBlocks decrypts AES in ECB mode, each block alone, which the standard library leaves
// out because it is no good way to encrypt. It returns what stands before the magic.
func decryptBlocks(key, data []byte) ([]byte, bool) {
	block, err := aes.NewCipher(key)
	if err != nil || len(data) == 0 || len(data)%aes.BlockSize != 0 {
		return nil, false
	}
	plain := make([]byte, len(data))
	for at := 0; at < len(data); at += aes.BlockSize {
		block.Decrypt(plain[at:], data[at:])
	}
	if plain, ok := unpad(plain); ok {
		return bytes.CutSuffix(plain, []byte(magic))
	}
	return nil, false
}

// unpad removes the padding of PKCS #5.
func unpad(plain []byte) ([]byte, bool) {
	n := int(plain[len(plain)-1])
	if n == 0 || n > aes.BlockSize || !bytes.Equal(plain[len(plain)-n:], bytes.Repeat([]byte{byte(n)}, n)) {
		return nil, false
	}
	return plain[:len(plain)-n], true
}
