package web_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/buildtoken/buildtoken/buildtoken"
	"github.com/buildtoken/buildtoken/buildtoken/definition"
	"github.com/buildtoken/buildtoken/buildtoken/job"
	"github.com/buildtoken/buildtoken/buildtoken/pgqueue"
	"github.com/buildtoken/buildtoken/buildtoken/runner"
	"github.com/buildtoken/buildtoken/buildtoken/token"
	"github.com/buildtoken/buildtoken/buildtoken/vault"
	"github.com/buildtoken/buildtoken/buildtoken/web"
	"github.com/buildtoken/buildtoken/internal/pgtest"
)

// dictated is a runner whose build writes the texts that it receives, until the channel is
// closed.
type dictated chan string

func (w dictated) Run(_ context.Context, _ runner.Build, log io.Writer) runner.Result {
	for text := range w {
		_, _ = io.WriteString(log, text)
	}
	return runner.Result{Outcome: runner.Success}
}

// cluster is two servers, a and b, with one queue in a schema of a database. Its job app runs on a.
type cluster struct {
	t           *testing.T
	url, schema string
	servers     map[string]*httptest.Server
}

func newCluster(t *testing.T, texts dictated) cluster {
	t.Helper()
	pg := pgtest.Start(t)
	c := cluster{t, pg.URL(), pgtest.Schema(t, pg.URL()), map[string]*httptest.Server{}}
	key := vault.NewKey()
	site, err := definition.Compile(definition.Spec{
		Access: definition.Access{Read: "true"},
		Root: definition.Folder{Jobs: []definition.Job{{
			Name: "app", Runner: texts, Settings: job.Settings{Label: new("a")},
			Tokens: []definition.Token{{Digest: token.NewSecret("Taco").Digest(), Grants: token.Trigger | token.Log}},
		}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a", "b"} {
		q, err := pgqueue.Open(t.Context(), pgqueue.Options{URL: c.url, Schema: c.schema, Server: name})
		if err != nil {
			t.Fatal(err)
		}
		ctl, err := buildtoken.Open(t.Context(), buildtoken.Options{Queue: q, Dir: t.TempDir(), SealKey: key, Node: name})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = ctl.Close() })
		if _, err := ctl.Attach(t.Context(), buildtoken.Config{Sites: []*definition.Site{site}}); err != nil {
			t.Fatal(err)
		}
		api := api{&web.Site{
			Open: func() (*buildtoken.Controller, error) { return ctl, nil }, Definition: site,
			Root: func(r *http.Request) string { return "http://" + r.Host + "/" },
		}}
		c.servers[name] = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { api.Serve(w, r) })) //nolint:contextcheck // Serve takes the request's
		t.Cleanup(c.servers[name].Close)
	}
	return c
}

// fetch sends a GET to a server.
func (c cluster) fetch(server, path string) (string, http.Header, error) {
	r, err := http.NewRequestWithContext(c.t.Context(), http.MethodGet, c.servers[server].URL+path, http.NoBody)
	if err != nil {
		return "", nil, err
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return "", nil, err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode >= 300 {
		err = errors.Join(err, fmt.Errorf("GET %s on %s: %s %.300q", path, server, answer.Status, body))
	}
	return string(body), answer.Header, err
}

// get is fetch for requests that must succeed.
func (c cluster) get(server, path string) (string, http.Header) {
	c.t.Helper()
	text, h, err := c.fetch(server, path)
	if err != nil {
		c.t.Fatal(err)
	}
	return text, h
}

// begin starts build 1 of app and returns once both servers show its first text.
func (c cluster) begin(texts dictated, text, shown string) {
	c.t.Helper()
	c.get("b", "/buildByToken/build?job=app&token=Taco&delay=0")
	texts <- text
	for _, server := range []string{"a", "b"} {
		for got := ""; !strings.HasSuffix(got, shown); {
			got, _ = c.get(server, "/job/app/1/logText/progressiveText")
		}
	}
}

// TestEveryServerAnswersTheSameOfALog lets a client follow a build of one server at another
// one, as Jenkins' clients do, and change to a third in the middle. In the end, the answers of
// all servers must be the same.
func TestEveryServerAnswersTheSameOfALog(t *testing.T) {
	texts := make(dictated)
	c := newCluster(t, texts)
	c.begin(texts, "gr\xc3", "\r\ngr") // half of a character, which every server holds back
	type followed struct {
		text string
		err  error
	}
	stream := make(chan followed, 1)
	go func() { // ends with the build
		text, _, err := c.fetch("b", "/buildByToken/log?job=app&token=Taco&item=1")
		stream <- followed{text, err}
	}()
	said := []string{"\xbc\xc3\x9fe\n", strings.Repeat("0123456789abcde\n", 5000), "the end"}
	progressive, start := "", "0"
	for more, turn := "true", 0; more == "true"; turn++ {
		if turn < len(said) {
			texts <- said[turn]
		} else if turn == len(said) {
			close(texts)
		}
		server := []string{"b", "a"}[turn%2]
		text, h := c.get(server, "/job/app/1/logText/progressiveText?start="+start)
		progressive += text
		start, more = h.Get("X-Text-Size"), h.Get("X-More-Data")
	}
	all, _ := c.get("a", "/job/app/1/consoleText")
	if want := "gr\xc3" + strings.Join(said, "") + "\nFinished: SUCCESS\n"; !strings.HasSuffix(all, "\n"+want) {
		t.Errorf("console: want what was written at its end: %s", firstDifference(all[max(0, len(all)-len(want)):], want))
	}
	if got := strings.ReplaceAll(progressive, "\r\n", "\n"); got != all {
		t.Errorf("progressive text, against the console: %s", firstDifference(got, all))
	}
	if got := <-stream; got.err != nil || got.text != all {
		t.Errorf("stream: %v; against the console: %s", got.err, firstDifference(got.text, all))
	}
	for _, path := range []string{"consoleText", "logText/progressiveText", "logText/progressiveText?start=7", "logText/progressiveHtml?start=30"} {
		text, h := c.get("a", "/job/app/1/"+path)
		other, g := c.get("b", "/job/app/1/"+path)
		if text != other || h.Get("X-Text-Size") != g.Get("X-Text-Size") || g.Get("X-More-Data") != "" {
			t.Errorf("%s: size %q on a; size %q, more %q on b; %s", path, h.Get("X-Text-Size"), g.Get("X-Text-Size"), g.Get("X-More-Data"), firstDifference(text, other))
		}
	}
}

// TestFollowerOfALogNeverGetsThatOfAnotherBuild follows a build at another server while the
// database is set back, and has no build of that number any more, or another one.
func TestFollowerOfALogNeverGetsThatOfAnotherBuild(t *testing.T) {
	const other = `insert into %[1]s.pieces (job, number, off, body) select job, number, size, 'the other build' from %[1]s.logs;
		update %[1]s.logs set size = size + 15;
		update %[1]s.builds set run = run + 1`
	for name, setBack := range map[string]string{
		"no build":      "delete from %[1]s.pieces; delete from %[1]s.logs; delete from %[1]s.builds",
		"another build": other,
		"another build, which has ended": other + `, running = false,
			body = jsonb_set(jsonb_set(body::jsonb, '{result}', '"FAILURE"'), '{ended}', '"2026-01-01T00:00:00Z"')`,
	} {
		t.Run(name, func(t *testing.T) {
			texts := make(dictated)
			c := newCluster(t, texts)
			c.begin(texts, "one\n", "\r\none\r\n")
			all, _ := c.get("b", "/job/app/1/consoleText")
			// follow returns the log once it has its first text.
			follow := func(accept string) *bufio.Reader {
				r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, c.servers["b"].URL+"/buildByToken/log?job=app&token=Taco&item=1", http.NoBody)
				if err != nil {
					t.Fatal(err)
				}
				r.Header.Set("Accept", accept)
				answer, err := http.DefaultClient.Do(r)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = answer.Body.Close() })
				body := bufio.NewReader(answer.Body)
				if _, err := body.Peek(1); err != nil {
					t.Fatal(err)
				}
				return body
			}
			plain, events := follow("text/plain"), follow("text/event-stream")
			if _, err := pgtest.Connect(t, c.url).Exec(t.Context(), fmt.Sprintf(setBack, c.schema)); err != nil {
				t.Fatal(err)
			}
			const gone = "[the log ends here: its build is not on record any more]\n"
			if got, err := io.ReadAll(plain); err != nil || string(got) != all+"\n"+gone {
				t.Errorf("log: %q, %v; want %q, and why it ends", got, err, all)
			}
			got, err := io.ReadAll(events)
			if text := string(got); err != nil || !strings.Contains(text, "data: "+gone) || !strings.Contains(text, "event: end\n") || strings.Contains(text, "other") {
				t.Errorf("events: %q, %v; want why the log ends, and the end", text, err)
			}
			close(texts)
		})
	}
}

// A server that cannot read a log of another one to its end lets the client see that.
func TestLogOfAnotherServerThatCannotBeReadIsCut(t *testing.T) {
	texts := make(dictated)
	c := newCluster(t, texts)
	c.begin(texts, "one\n", "\r\none\r\n")
	texts <- "two\n"
	for got := ""; !strings.HasSuffix(got, "two\r\n"); {
		got, _ = c.get("b", "/job/app/1/logText/progressiveText")
	}
	if _, err := pgtest.Connect(t, c.url).Exec(t.Context(), fmt.Sprintf("delete from %s.pieces where off > 0", c.schema)); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"consoleText", "consoleText?ansi=none", "logText/progressiveText", "logText/progressiveHtml"} {
		if text, h, err := c.fetch("b", "/job/app/1/"+path); err == nil {
			t.Errorf("%s = %q, X-Text-Size %q, want a broken connection", path, text, h.Get("X-Text-Size"))
		}
	}
	close(texts)
}

// firstDifference describes where two long texts begin to differ.
func firstDifference(got, want string) string {
	at := 0
	for at < min(len(got), len(want)) && got[at] == want[at] {
		at++
	}
	if at == len(got) && at == len(want) {
		return "the texts are equal"
	}
	part := func(text string) string { return text[max(0, at-40):min(len(text), at+80)] }
	return fmt.Sprintf("%d bytes, want %d; at %d: %q, want %q", len(got), len(want), at, part(got), part(want))
}
