package pages

import (
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/buildtoken/buildtoken/buildtoken/job"
)

// weigh reads one media range of an Accept header and its weight.
func weigh(part string) (kind string, weight float64) {
	kind, params, err := mime.ParseMediaType(part)
	if err != nil {
		return "", 0
	}
	q, given := params["q"]
	if !given {
		return kind, 1
	}
	weight, err = strconv.ParseFloat(q, 64)
	if err != nil || !(weight >= 0 && weight <= 1) {
		return kind, 0
	}
	return kind, weight
}

// route is what a path leads to.
type route struct {
	methods []string
	// shared paths are those of the remote API too; who does not prefer HTML gets that.
	shared bool
	// common paths may well be somebody else's on the same site, as a home page
	// is: they are ours only for who may read.
	common          bool
	needsController bool
	serve           func(*visit) error
}

// loader makes a page as it is at the visit's instant.
type loader func(*visit) (*page, error)

func reading(serve func(*visit) error) route {
	return route{methods: []string{http.MethodGet, http.MethodHead}, needsController: true, serve: serve}
}

func submitting(serve func(*visit) error) route {
	return route{methods: []string{http.MethodPost}, needsController: true, serve: serve}
}

// own is the first part of paths that nothing else can have. It is not below
// buildByToken, which people keep out of what asks for a login: streams and
// parts of logs are for who may read.
const own = "queue/-/"

// route finds what a path leads to; not ok is somebody else's.
func (p *Pages) route(path []string) (route, bool) {
	if len(path) >= 3 && path[0] == "queue" && path[1] == "-" {
		return p.ownRoute(path[2], path[3:])
	}
	if load, ok := p.page(path); ok {
		rt := reading(func(v *visit) error { return v.show(load) })
		rt.shared = true
		rt.common = len(path) == 0 || path[0] == "computer"
		// POST to a page is the remote API's.
		return rt, true
	}
	if slices.Equal(path, []string{"rssAll"}) {
		rt := reading(func(v *visit) error { return v.feed("") })
		rt.common = true
		return rt, true
	}
	if len(path) == 4 && path[0] == "queue" && path[1] == "item" && path[3] == "cancelForm" {
		id, ok := parseNumber(path[2])
		return submitting(func(v *visit) error { return v.cancel(id) }), ok
	}
	full, rest := jobPath(path)
	if full == "" {
		return route{}, false
	}
	return jobRoute(full, rest)
}

// jobRoute is for what stands below a job and is no page.
func jobRoute(full string, rest []string) (route, bool) {
	switch {
	case len(rest) == 1 && rest[0] == "rssAll":
		return reading(func(v *visit) error { return v.feed(full) }), true
	case len(rest) == 2 && rest[0] == "badge" && (rest[1] == "icon" || rest[1] == "icon.svg"):
		return reading(func(v *visit) error { return v.badge(full) }), true
	case len(rest) == 1 && rest[0] == "buildForm":
		return submitting(func(v *visit) error { return v.start(full) }), true
	case len(rest) == 2 && rest[1] == "stopForm":
		number, ok := parseNumber(rest[0])
		return submitting(func(v *visit) error { return v.stop(full, number) }), ok
	}
	return route{}, false
}

// ownRoute is for what pages need besides pages.
func (p *Pages) ownRoute(kind string, rest []string) (route, bool) {
	switch kind {
	case "assets":
		if len(rest) != 1 {
			return route{}, false
		}
		rt := reading(func(v *visit) error { return v.asset(rest[0]) })
		rt.needsController = false
		return rt, true
	case "events":
		load, ok := p.page(rest)
		return reading(func(v *visit) error { return v.stream(load) }), ok
	case "log":
		full, rest := jobPath(rest)
		if full == "" || len(rest) != 1 {
			return route{}, false
		}
		number, ok := parseNumber(rest[0])
		return reading(func(v *visit) error { return v.logPart(full, number) }), ok
	}
	return route{}, false
}

// page finds the page of a path.
func (p *Pages) page(path []string) (loader, bool) {
	switch {
	case len(path) == 0:
		return func(v *visit) (*page, error) { return v.overview("") }, true
	case slices.Equal(path, []string{"queue"}):
		return (*visit).queuePage, true
	case slices.Equal(path, []string{"computer"}):
		return (*visit).executors, true
	case len(path) == 3 && path[0] == "queue" && path[1] == "item":
		id, ok := parseNumber(path[2])
		return func(v *visit) (*page, error) { return v.item(id) }, ok
	}
	full, rest := jobPath(path)
	if full == "" || len(rest) > 2 || (len(rest) == 2 && rest[1] != "console") {
		return nil, false
	}
	if len(rest) == 0 {
		if _, ok := p.Definition.Job(full); ok {
			return func(v *visit) (*page, error) { return v.job(full, nil) }, true
		}
		return func(v *visit) (*page, error) { return v.overview(full) }, true
	}
	suffix := strings.Join(rest[1:], "/")
	if is, ok := permalinks()[rest[0]]; ok {
		return func(v *visit) (*page, error) { return v.permalink(full, is, suffix) }, true
	}
	number, ok := parseNumber(rest[0])
	return func(v *visit) (*page, error) { return v.build(full, number, suffix == "console") }, ok
}

// splitPath gives the unescaped segments of a path, without empty ones. It
// cuts first: an escaped slash is part of a name, which no job has.
func splitPath(escaped string) []string {
	var segments []string
	for segment := range strings.SplitSeq(escaped, "/") {
		if segment == "" {
			continue
		}
		if unescaped, err := url.PathUnescape(segment); err == nil {
			segment = unescaped
		}
		segments = append(segments, segment)
	}
	return segments
}

// jobPath reads job/NAME/job/NAME/… and gives the full name and what follows;
// "" if there is none that could be a job's.
func jobPath(path []string) (full string, rest []string) {
	rest = path
	for len(rest) >= 2 && rest[0] == "job" {
		if strings.Contains(rest[1], "/") || !utf8.ValidString(rest[1]) {
			return "", nil
		}
		full = job.Join(full, rest[1])
		rest = rest[2:]
	}
	return full, rest
}

// parseNumber reads an id or a build number: from 1, no zeros in front.
func parseNumber(text string) (int64, bool) {
	if text == "" || text[0] < '1' || text[0] > '9' {
		return 0, false
	}
	n, err := strconv.ParseInt(text, 10, 64)
	return n, err == nil
}

// jobURL is the path of a job or folder below a base that ends with a slash.
func jobURL(base, full string) string {
	if full == "" {
		return base
	}
	var b strings.Builder
	b.WriteString(base)
	for name := range strings.SplitSeq(full, "/") {
		b.WriteString("job/")
		b.WriteString(url.PathEscape(name))
		b.WriteByte('/')
	}
	return b.String()
}

func buildURL(base, full string, number int64) string {
	return jobURL(base, full) + strconv.FormatInt(number, 10) + "/"
}

func itemURL(base string, id int64) string {
	return base + "queue/item/" + strconv.FormatInt(id, 10) + "/"
}
