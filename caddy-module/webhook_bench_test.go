package caddymodule_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
)

// BenchmarkWebhook compares a signed push that is queued with `respond`, as BenchmarkHTTP does
// for triggers. Each delivery has a different commit, so each creates an item. The time
// includes the signature that the client makes.
func BenchmarkWebhook(b *testing.B) {
	raw, err := os.ReadFile(filepath.Join("..", "testdata", "hooks", "github_push.http"))
	if err != nil {
		b.Fatal(err)
	}
	_, body, _ := strings.Cut(string(raw), "\n\n")
	const commit = "3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d5e6f"
	if !strings.Contains(body, commit) {
		b.Fatal("the sample has another commit")
	}
	address := startCaddy(b, `
		webhook github s3cret
		job pushed {
			param COMMIT string
			on github push {
				when `+"`event.branch == \"main\" && event.files.exists(f, f.startsWith(\"api/\"))`"+`
				set COMMIT `+"`event.sha`"+`
			}
			run true
		}
`)
	var serial atomic.Int64
	push := httpCase{"webhook", address, "201", func(buf []byte) []byte {
		body := strings.ReplaceAll(body, commit, fmt.Sprintf("%040x", serial.Add(1)))
		mac := hmac.New(sha256.New, []byte("s3cret"))
		mac.Write([]byte(body))
		buf = append(buf[:0], "POST /buildByToken/webhook?job=pushed HTTP/1.1\r\nHost: "...)
		buf = append(buf, address+"\r\nContent-Type: application/json\r\nX-GitHub-Event: push\r\nX-Hub-Signature-256: sha256="...)
		buf = append(buf, hex.EncodeToString(mac.Sum(nil))+"\r\nContent-Length: "+strconv.Itoa(len(body))+"\r\n\r\n"...)
		return append(buf, body...)
	}}
	b.Run("clients=64", func(b *testing.B) {
		compare(b, 64, []httpCase{fixedCase("respond", address, "/static", "200"), push})
	})
}
