package caddymodule_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
)

// BenchmarkWebhook measures a signed push that is queued, beside a `respond` that gets the same
// delivery, as BenchmarkHTTP does for triggers. Each delivery has another commit, so each makes a
// new item. The case new is a plain trigger that makes one: a delivery cannot be faster.
func BenchmarkWebhook(b *testing.B) {
	push := realisticPush(b)
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
	deliver := func(name, path, status string) httpCase {
		return httpCase{name, address, status, func(buf []byte) []byte {
			body := strings.ReplaceAll(push, pushedCommit, fmt.Sprintf("%040x", serial.Add(1)))
			mac := hmac.New(sha256.New, []byte("s3cret"))
			mac.Write([]byte(body))
			buf = append(buf[:0], "POST "+path+" HTTP/1.1\r\nHost: "...)
			buf = append(buf, address+"\r\nContent-Type: application/json\r\nX-GitHub-Event: push\r\nX-Hub-Signature-256: sha256="...)
			buf = append(buf, hex.EncodeToString(mac.Sum(nil))+"\r\nContent-Length: "+strconv.Itoa(len(body))+"\r\n\r\n"...)
			return append(buf, body...)
		}}
	}
	plain := triggerCases(address)
	b.Run("clients=64", func(b *testing.B) {
		compare(b, 64, []httpCase{
			deliver("respond", "/static", "200"), deliver("webhook", "/buildByToken/webhook?job=pushed", "201"), plain[len(plain)-1],
		})
	})
}

// pushedCommit is the commit of the sample.
const pushedCommit = "3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d5e6f"

// realisticPush returns the sample of a push with the addresses that GitHub adds to a repository
// and its users, of which a real delivery mostly consists.
func realisticPush(b *testing.B) string {
	b.Helper()
	raw, err := os.ReadFile(filepath.Join("..", "testdata", "hooks", "github_push.http"))
	if err != nil {
		b.Fatal(err)
	}
	_, body, _ := strings.Cut(string(raw), "\n\n")
	var repository, user strings.Builder
	for _, name := range strings.Fields(`archive assignees blobs branches clone collaborators comments commits compare contents
		contributors deployments downloads events forks git_commits git_refs git_tags git hooks issue_comment issue_events issues keys
		labels languages merges milestones mirror notifications pulls releases ssh stargazers statuses subscribers subscription svn
		tags teams trees`) {
		fmt.Fprintf(&repository, "    %q: %q,\n", name+"_url", "https://api.github.com/repos/shop/api/"+name+"{/number}")
	}
	for _, name := range strings.Fields(`avatar followers following gists starred subscriptions organizations repos events received_events hooks issues members public_members`) {
		fmt.Fprintf(&user, "    %q: %q,\n", name+"_url", "https://api.github.com/users/octavia/"+name+"{/privacy}")
	}
	body = strings.Replace(body, `"repository": {`, "\"repository\": {\n"+repository.String()+"    \"owner\": {\n"+user.String()+"    \"login\": \"shop\"},", 1)
	body = strings.Replace(body, `"sender": {`, "\"organization\": {\n"+user.String()+"    \"login\": \"shop\"},\n\"sender\": {", 1)
	body = strings.Replace(body, `"sender": {`, "\"sender\": {\n"+user.String(), 1)
	var compact bytes.Buffer // as GitHub sends it
	if err := json.Compact(&compact, []byte(body)); err != nil {
		b.Fatal(err)
	}
	body = compact.String()
	if len(body) < 7<<10 || len(body) > 10<<10 || !strings.Contains(body, pushedCommit) {
		b.Fatalf("the delivery has %d bytes, want 7 to 10 KiB with the commit", len(body))
	}
	return body
}
