package pages_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"

	"github.com/buildtoken/buildtoken/buildtoken"
	"github.com/buildtoken/buildtoken/buildtoken/boltqueue"
	"github.com/buildtoken/buildtoken/buildtoken/definition"
	"github.com/buildtoken/buildtoken/buildtoken/vault"
	"github.com/buildtoken/buildtoken/buildtoken/web"
	"github.com/buildtoken/buildtoken/buildtoken/web/pages"
)

// Pages handle requests of browsers before the handlers for programs.
func ExamplePages_Serve() {
	dir, err := os.MkdirTemp("", "pages")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	q, err := boltqueue.Open(boltqueue.Options{Path: filepath.Join(dir, "queue.db")})
	if err != nil {
		log.Fatal(err)
	}
	ctl, err := buildtoken.Open(context.Background(), buildtoken.Options{Queue: q, Dir: dir, SealKey: vault.NewKey()})
	if err != nil {
		log.Fatal(err)
	}
	defer ctl.Close()
	def, err := definition.Compile(definition.Spec{Root: definition.Folder{Jobs: []definition.Job{at("deploy", writes("done\n"))}}})
	if err != nil {
		log.Fatal(err)
	}

	home := &web.Site{
		Open: func() (*buildtoken.Controller, error) { return ctl, nil }, Definition: def,
		Root: func(*http.Request) string { return "https://ci.example.com/" },
		User: func(*http.Request) string { return "alice" },
	}
	var p pages.Pages
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !p.Serve(home.Request(w, r)) { //nolint:contextcheck // Serve takes the request's
			fmt.Fprint(w, "for a program")
		}
	})
	for _, accept := range []string{"text/html", "application/json"} {
		r := httptest.NewRequest(http.MethodGet, "/job/deploy/", nil)
		r.Header.Set("Accept", accept)
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		fmt.Println(accept+":", w.Code, w.Header().Get("Content-Type"))
	}
	// Output:
	// text/html: 200 text/html; charset=utf-8
	// application/json: 200 text/plain; charset=utf-8
}
