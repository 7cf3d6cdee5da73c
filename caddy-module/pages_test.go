package caddymodule_test

import (
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
)

// TestPagesStandBesideOtherHandlers checks which handler answers: browsers of users who can
// read get pages, programs get the API, and all other requests for the home page get that of
// another handler.
func TestPagesStandBesideOtherHandlers(t *testing.T) {
	root := "http://" + serveSite(t, `
	build_token {
		access {
			read `+"`request.headers[\"x-reader\"] == \"yes\"`"+`
		}
		job p {
			run true
		}
	}
	respond "somebody else's"
`)
	const html, any = "text/html,*/*;q=0.8", "*/*"
	for _, tt := range []struct {
		name, path, accept string
		reader             bool
		status             int
		part               string // of the body
	}{
		{"readers get the jobs at the root", "/", html, true, 200, `href="/job/p/"`},
		{"the root is another handler's without an account", "/", html, false, 200, "somebody else's"},
		{"the root is a page for their programs, too", "/", any, true, 200, `href="/job/p/"`},
		{"the root is another handler's for other programs", "/", any, false, 200, "somebody else's"},
		{"so are the executors", "/computer/", html, false, 200, "somebody else's"},
		{"a job's page is hidden from others", "/job/p/", html, false, 403, "<html"},
		{"a job's page", "/job/p/", html, true, 200, "<html"},
		{"the same path for programs", "/job/p/api/json", any, true, 200, `"hudson.model.FreeStyleProject"`},
		{"the queue", "/queue/", html, true, 200, "<html"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, root+tt.path, nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Accept", tt.accept)
			if tt.reader {
				r.Header.Set("X-Reader", "yes")
			}
			answer, err := http.DefaultTransport.RoundTrip(r)
			if err != nil {
				t.Fatal(err)
			}
			defer answer.Body.Close()
			body, err := io.ReadAll(answer.Body)
			if err != nil {
				t.Fatal(err)
			}
			if answer.StatusCode != tt.status || !strings.Contains(string(body), tt.part) {
				t.Errorf("GET %s = %d %.300q, want %d and %q", tt.path, answer.StatusCode, body, tt.status, tt.part)
			}
		})
	}
}

// TestPagesAreLiveBehindALogin uses a login that leaves out the paths of triggers, as in the
// documents: what a page requests later needs the account too.
func TestPagesAreLiveBehindALogin(t *testing.T) {
	root := "http://" + serveSite(t, `
	@people not path /buildByToken/*
	basic_auth @people {
		alice $2a$04$DWg7sOYkgryu0crsI9tmQuWkHZRCLAZP/JBuJZNWzHATGg7LVL2qS
	}
	build_token {
		job p {
			run true
		}
	}
`)
	ask := func(method, path string) (int, string) {
		r, err := http.NewRequestWithContext(t.Context(), method, root+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Accept", "text/html")
		r.SetBasicAuth("alice", "alice-password")
		answer, err := http.DefaultTransport.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		body, err := io.ReadAll(answer.Body)
		if err != nil {
			t.Fatal(err)
		}
		return answer.StatusCode, string(body)
	}
	_, page := ask(http.MethodGet, "/job/p/")
	found := regexp.MustCompile(`data-events="([^"]+)"`).FindStringSubmatch(page)
	if found == nil {
		t.Fatalf("the page has no event stream:\n%s", page)
	}
	if status, body := ask(http.MethodHead, found[1]); status != http.StatusOK {
		t.Errorf("HEAD %s = %d %s, want 200", found[1], status, body)
	}
}
