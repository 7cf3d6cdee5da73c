package pages

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"html/template"
	"net/http"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/buildtoken/buildtoken/buildtoken/web"
)

//go:embed templates/*.html
var templateFiles embed.FS

// kit has the templates, assets and caches that all pages share.
type kit struct {
	templates *template.Template
	assets    map[string]asset
	// urls are the names of assets with their digests, by file name.
	urls map[string]string
	// version is that of the program.
	version string
	rows    rowIndex
	pieces  pieces
	boards  boards
	queued  queuedLanes
	// shared and personal bound what streams of pages cost: those that readers share, which
	// may be large, and the others.
	shared, personal *pace
	// searching has an element for each search that is going on, and making for each page that
	// is being made.
	searching, making chan struct{}
}

func newKit() *kit {
	k := &kit{version: version(), searching: make(chan struct{}, searchesAtOnce), making: make(chan struct{}, pagesAtOnce), shared: newPace(), personal: newPace()}
	k.assets, k.urls = loadAssets()
	icons := map[string]string{}
	k.templates = template.Must(template.New("").Funcs(template.FuncMap{
		"stamp": func(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) },
		"utc":   func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") },
		"span":  span,
		"next":  func(n int) int { return n + 1 },
		"link":  func(text, url string) link { return link{text, url} },
		"dots":  dots, "plural": plural,
		"state": func(m mark) template.HTML { return stateHTML(icons[m.Class], m) },
	}).ParseFS(templateFiles, "templates/*.html"))
	for _, class := range iconClasses {
		var b strings.Builder
		if err := k.templates.ExecuteTemplate(&b, "icon", class); err != nil { // it is part of the program
			panic(err)
		}
		icons[class] = b.String()
	}
	return k
}

// iconClasses are the classes of states. Their icons are made once: a page has thousands.
//
//nolint:gochecknoglobals // a constant table
var iconClasses = []string{
	"success", "unstable", "failure", "aborted", "notbuilt", "running", "never",
	"waiting", "blocked", "ready", "stuck", "cancelled", "disabled",
}

// stateHTML is a state with its icon.
func stateHTML(icon string, m mark) template.HTML {
	return template.HTML(`<span class="state state-` + template.HTMLEscapeString(m.Class) + `">` + icon + template.HTMLEscapeString(m.Word) + `</span>`) //nolint:gosec // escaped; the icon comes out of html/template
}

// page is the content of one URL: a frame with regions in it.
type page struct {
	// Title is the title of the document, and Name identifies the page in style sheets.
	Title, Name string
	Crumbs      []link
	// Icon is the class of the state that the page shows, such as that of a build; "" if
	// there is none.
	Icon string
	// Here is the entry of the navigation that the page belongs to.
	Here string
	// Feed is the path of an Atom feed, or "".
	Feed string
	// Notice is what a form has just done; "" for nothing.
	Notice string
	// Say is announced by screen readers whenever it has changed.
	Say     string
	Regions []region

	// path is the path of the page below the root. The path of its event stream follows from it.
	path   string
	status int
	// next is when something on the page becomes due, if that is known.
	next time.Time
	// redirect is the address to which the browser is redirected instead, or "".
	redirect string
	// log is the console that the page shows, if any.
	log *buildOf
	// ended is set if nothing on the page will change any more.
	ended bool
	// changed is closed when something on the page may have changed; nil stands
	// for any change.
	changed <-chan struct{}
}

type link struct{ Text, URL string }

// region is a part of a page that is rendered, and replaced, on its own.
type region struct {
	// Name is that of the template, and of a style.
	Name string
	// Static regions are never replaced: a reader may be typing there.
	Static bool
	Data   any
}

// rendered is a region as HTML. Hash stands for it.
type rendered struct {
	Name   string
	Hash   string
	HTML   template.HTML
	Static bool
}

func (k *kit) region(r region) (rendered, error) {
	var b bytes.Buffer
	if err := k.templates.ExecuteTemplate(&b, r.Name, r.Data); err != nil {
		return rendered{}, err
	}
	return rendered{
		Name: r.Name, Hash: digest(b.String()), Static: r.Static,
		HTML: template.HTML(b.String()), //nolint:gosec // it comes out of html/template
	}, nil
}

// digest returns a short text that stands for a piece of HTML. The value of a progress bar
// does not count: it changes all the time, and the script counts it.
func digest(html string) string {
	sum := sha256.Sum256(passing.ReplaceAllLiteral([]byte(html), nil))
	return hex.EncodeToString(sum[:8])
}

// frame is the data of the layout template.
type frame struct {
	*page
	Base, User string
	Assets     map[string]string
	Rendered   []rendered
	// Tab is the path of the icon for the tab of a browser.
	Tab string
	// Nav is the navigation.
	Nav rendered
	// Events is the path of the page's event stream, or "".
	Events string
	// API is the path of the JSON of the page, or "".
	API string
	// Version is that of the program; "" for callers who may see nothing.
	Version, Docs string
}

// pagesAtOnce is how many pages are made at a time, without those of streams. Others wait: a page of
// thousands of jobs takes several MB, and more of them at once would be ready no sooner.
const pagesAtOnce = 8

// startMaking waits until a page may be made. The caller must call madePage then.
func (v *visit) startMaking() error {
	select {
	case v.kit.making <- struct{}{}:
		v.madePage = sync.OnceFunc(func() { <-v.kit.making })
		return nil
	case <-v.R.Context().Done():
		return context.Cause(v.R.Context())
	}
}

// show answers with a page.
func (v *visit) show(load loader) error {
	pg, html, err := v.made(load)
	switch {
	case err != nil:
		return err
	case pg.redirect != "":
		v.redirect(pg.redirect)
	default:
		v.WriteBytes(cmp.Or(pg.status, http.StatusOK), web.HTMLText, html)
	}
	return nil
}

// made returns a page, and its HTML unless it is a redirect.
func (v *visit) made(load loader) (*page, []byte, error) {
	if err := v.startMaking(); err != nil {
		return nil, nil, err
	}
	defer v.madePage()
	p, err := load(v)
	if err != nil {
		return nil, nil, err
	}
	pg, err := p.make()
	if err != nil || pg.redirect != "" {
		return pg, nil, err
	}
	html, err := v.html(pg)
	return pg, html, err
}

// redirect sends the browser to another page, which it gets with GET.
func (v *visit) redirect(to string) {
	v.W.Header().Set("Location", to)
	v.W.WriteHeader(http.StatusSeeOther)
}

// write answers with a page that was loaded before.
func (v *visit) write(pg *page) {
	html, err := v.html(pg)
	if err != nil {
		v.broken(err)
		return
	}
	v.WriteBytes(cmp.Or(pg.status, http.StatusOK), web.HTMLText, html)
}

// html returns the HTML of a page.
func (v *visit) html(pg *page) ([]byte, error) {
	f := frame{page: pg, Base: v.base, User: v.User(), Assets: v.assetURLs(), Tab: v.tabIcon(pg), Docs: docs, API: v.apiOf(pg)}
	if pg.Name != "failure" {
		f.Version = v.kit.version
	}
	nav, err := v.nav(pg)
	if err != nil {
		return nil, err
	}
	if f.Nav, err = v.kit.region(nav); err != nil {
		return nil, err
	}
	live := false
	for _, r := range pg.Regions {
		out, err := v.kit.region(r)
		if err != nil {
			return nil, err
		}
		f.Rendered = append(f.Rendered, out)
		live = live || !r.Static
	}
	if live && !pg.ended {
		f.Events = v.base + own + "events/" + pg.path
	}
	var b bytes.Buffer
	if err := v.kit.templates.ExecuteTemplate(&b, "layout", f); err != nil {
		return nil, fmt.Errorf("pages: render %s: %w", pg.Name, err)
	}
	return b.Bytes(), nil
}

// broken answers with 500 after a template could not be executed, which is a bug.
func (v *visit) broken(err error) {
	v.Logger().Error("page could not be rendered", zap.String("path", v.R.URL.Path), zap.Error(err))
	v.Write(http.StatusInternalServerError, web.PlainText, "internal error\n")
}
