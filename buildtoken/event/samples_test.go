package event_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"flag"
	"net/textproto"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/buildtoken/buildtoken/buildtoken/event"
)

var update = flag.Bool("update", false, "write the events of the sample deliveries")

const samples = "../../testdata/hooks"

// read reads a sample, a raw HTTP request. Its name begins with the kind, or with the name of a
// forge that is like Gitea.
func read(t testing.TB, file string) (event.Kind, event.Header, []byte) {
	t.Helper()
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	r := textproto.NewReader(bufio.NewReader(bytes.NewReader(raw)))
	if _, err := r.ReadLine(); err != nil {
		t.Fatal(err)
	}
	h, err := r.ReadMIMEHeader()
	if err != nil {
		t.Fatal(err)
	}
	_, body, _ := bytes.Cut(raw, []byte("\n\n"))
	name, _, _ := strings.Cut(filepath.Base(file), "_")
	if name == "forgejo" || name == "gogs" {
		name = "gitea"
	}
	kind := event.Kind(name)
	if !slices.Contains(event.Kinds(), kind) {
		t.Fatalf("%s begins with no kind", file)
	}
	return kind, event.Header(h), body
}

// Every sample, written according to the documents of its vendor, leads to the event beside it.
func TestSamples(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(samples, "*.http"))
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 70 {
		t.Fatalf("found %d samples in %s, want 70 or more", len(files), samples)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".http"), func(t *testing.T) {
			kind, h, body := read(t, file)
			d, err := event.Read(kind, h, body)
			if err != nil {
				t.Fatal(err)
			}
			type shown struct {
				Ping   bool          `json:",omitempty"`
				Events []event.Event `json:",omitempty"`
				Once   []string      `json:",omitempty"`
			}
			s := shown{Ping: d.Ping, Events: d.Events}
			for i := range d.Events {
				s.Once = append(s.Once, d.Once(i))
			}
			got, err := json.MarshalIndent(s, "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, '\n')
			golden := strings.TrimSuffix(file, ".http") + ".json"
			if *update {
				if err := os.WriteFile(golden, got, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(got)); diff != "" {
				t.Errorf("event (-want +got):\n%s", diff)
			}
			if _, err := event.Body(kind, h, body); err != nil {
				t.Errorf("Body = %v", err)
			}
		})
	}
}
