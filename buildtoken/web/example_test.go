package web_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"

	"github.com/buildtoken/buildtoken/buildtoken"
	"github.com/buildtoken/buildtoken/buildtoken/boltqueue"
	"github.com/buildtoken/buildtoken/buildtoken/definition"
	"github.com/buildtoken/buildtoken/buildtoken/runner"
	"github.com/buildtoken/buildtoken/buildtoken/token"
	"github.com/buildtoken/buildtoken/buildtoken/vault"
	"github.com/buildtoken/buildtoken/buildtoken/web"
	"github.com/buildtoken/buildtoken/buildtoken/web/jenkins"
	"github.com/buildtoken/buildtoken/buildtoken/web/triggers"
)

// hello is a runner that prints a greeting.
type hello struct{}

func (hello) Run(_ context.Context, _ runner.Build, log io.Writer) runner.Result {
	_, _ = fmt.Fprintln(log, "hello")
	return runner.Result{Outcome: runner.Success}
}

// A site with one job, mounted at the root.
func ExampleSite() {
	dir, err := os.MkdirTemp("", "buildtoken")
	if err != nil {
		panic(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	db, err := boltqueue.Open(boltqueue.Options{Path: filepath.Join(dir, "queue.db")})
	if err != nil {
		panic(err)
	}
	ctx := context.Background()
	ctl, err := buildtoken.Open(ctx, buildtoken.Options{Queue: db, Dir: dir, SealKey: vault.NewKey()})
	if err != nil {
		panic(err)
	}
	defer func() { _ = ctl.Close() }()
	site, err := definition.Compile(definition.Spec{Root: definition.Folder{Jobs: []definition.Job{{
		Name: "RevolutionTest", Runner: hello{},
		Tokens: []definition.Token{{Digest: token.NewSecret("TacoTuesday").Digest()}},
	}}}})
	if err != nil {
		panic(err)
	}
	detach, err := ctl.Attach(ctx, buildtoken.Config{Sites: []*definition.Site{site}})
	if err != nil {
		panic(err)
	}
	defer detach()

	home := &web.Site{
		Open:       func() (*buildtoken.Controller, error) { return ctl, nil },
		Definition: site,
		Root:       func(r *http.Request) string { return "http://" + r.Host + "/" },
	}
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		q := home.Request(w, r)
		if !triggers.Serve(q) && !jenkins.Serve(q) { //nolint:contextcheck // Serve takes the request's
			http.NotFound(w, r) // or the rest of the site
		}
	})

	r := httptest.NewRequestWithContext(ctx, http.MethodPost, "/buildByToken/build?job=RevolutionTest", http.NoBody)
	r.Header.Set("Authorization", "Bearer TacoTuesday")
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, r)
	fmt.Println(w.Code, w.Header().Get("Location"))
	fmt.Print(w.Body)
	// Output:
	// 201 http://example.com/queue/item/1/
	// queued as item 1
}
