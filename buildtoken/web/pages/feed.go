package pages

import (
	"encoding/xml"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/buildtoken/web"
)

// feedEntries is how many builds a feed has.
const feedEntries = 50

// atomFeed is an Atom feed (RFC 4287).
type atomFeed struct {
	XMLName xml.Name    `xml:"http://www.w3.org/2005/Atom feed"`
	ID      string      `xml:"id"`
	Title   string      `xml:"title"`
	Updated string      `xml:"updated"`
	Links   []atomLink  `xml:"link"`
	Author  string      `xml:"author>name"`
	Entries []atomEntry `xml:"entry"`
}

type atomLink struct {
	Rel  string `xml:"rel,attr"`
	Type string `xml:"type,attr"`
	Href string `xml:"href,attr"`
}

type atomEntry struct {
	ID        string   `xml:"id"`
	Title     string   `xml:"title"`
	Published string   `xml:"published"`
	Updated   string   `xml:"updated"`
	Link      atomLink `xml:"link"`
	Summary   string   `xml:"summary"`
}

// feed answers with the newest builds of a job or of the jobs in a folder, ""
// being the root, as Atom.
func (v *visit) feed(full string) error {
	var jobs []string // of a folder
	_, isJob := v.Definition.Job(full)
	if !isJob {
		jobs = v.Readable(full)
		if len(jobs) == 0 && v.MayRead(full) {
			if _, ok := v.Definition.Tree().Folder(full); !ok {
				return web.ErrNotFound
			}
		} else if len(jobs) == 0 {
			return web.ErrForbidden
		}
	} else if !v.MayRead(full) {
		return web.ErrForbidden
	}
	if err := v.startMaking(); err != nil {
		return err
	}
	defer v.madePage()
	var builds []queue.Build
	var err error
	if isJob {
		builds, err = v.ctl.Builds(v.R.Context(), full, 0, feedEntries)
	} else {
		builds, err = v.newestOf(jobs)
	}
	if err != nil {
		return err
	}
	text, err := xml.Marshal(v.atom(full, builds))
	if err != nil {
		return fmt.Errorf("pages: feed: %w", err)
	}
	text = append([]byte(xml.Header), text...)
	v.madePage()
	v.W.Header().Del("Vary")
	v.WriteBytes(http.StatusOK, "application/atom+xml; charset=utf-8", text)
	return nil
}

// newestOf returns the newest builds of several jobs. Like the list of builds, it reads only the
// records of those.
func (v *visit) newestOf(jobs []string) ([]queue.Build, error) {
	known, err := v.known(jobs, func(queue.Build) bool { return true }, math.MaxInt64)
	if err != nil {
		return nil, err
	}
	var builds []queue.Build
	for _, k := range known {
		if len(builds) == feedEntries {
			break
		}
		b, err := v.ctl.Build(v.R.Context(), k.job, k.number)
		if missing(err) { // dropped meanwhile
			continue
		}
		if err != nil {
			return nil, err
		}
		builds = append(builds, b)
	}
	return builds, nil
}

func (v *visit) atom(full string, builds []queue.Build) atomFeed {
	at := web.JobURL(v.Root(), full)
	f := atomFeed{
		ID: at + "rssAll", Title: "All builds", Author: "buildtoken", Updated: stamp(time.Unix(0, 0)),
		Links: []atomLink{{"self", "application/atom+xml", at + "rssAll"}, {"alternate", "text/html", at}},
	}
	if full != "" {
		f.Title = "Builds of " + web.Displayed(full)
	}
	var newest time.Time
	for _, b := range builds {
		changed := b.Started
		if !b.Running() {
			changed = b.Ended
		}
		if changed.After(newest) {
			newest = changed
			f.Updated = stamp(newest)
		}
		url := web.BuildURL(v.Root(), b.Item.Job, b.Number)
		e := atomEntry{
			ID: url, Title: web.Displayed(b.Item.Job) + " #" + strconv.FormatInt(b.Number, 10) + " " + buildMark(b).Word,
			Published: stamp(b.Started), Updated: stamp(changed), Link: atomLink{"alternate", "text/html", url}, Summary: b.Reason,
		}
		if len(b.Item.Causes) > 0 && e.Summary == "" {
			e.Summary = b.Item.Causes[0].String()
		}
		f.Entries = append(f.Entries, e)
	}
	return f
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
