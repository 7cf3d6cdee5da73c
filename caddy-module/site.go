package caddymodule

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/buildtoken/buildtoken/buildtoken"
	"github.com/buildtoken/buildtoken/buildtoken/job"
)

// site is what a handler tells the app about itself.
type site struct {
	definition *buildtoken.Definition
	// texts are the jobs as the configuration has them.
	texts []jobText
	// place says which handler this is, for errors.
	place string
}

// jobText is a job with all that it inherits, as the configuration has it. Two
// jobs are equal if their texts are.
type jobText struct {
	full string
	text []byte
}

// jobTexts lists the jobs of a tree. It must be called before modules are
// loaded, which takes their text out of the configuration.
func jobTexts(root *Folder) ([]jobText, error) {
	var all []jobText
	err := addJobTexts(&all, "", root, nil)
	return all, err
}

func addJobTexts(all *[]jobText, full string, f *Folder, outer []*Scope) error {
	inherited := append(outer[:len(outer):len(outer)], &f.Scope)
	for i := range f.Jobs {
		text, err := canonical(struct {
			Inherited []*Scope
			Job       *Job
		}{inherited, &f.Jobs[i]})
		name := job.Join(full, f.Jobs[i].Name)
		if err != nil {
			return fmt.Errorf("job %q: %w", name, err)
		}
		*all = append(*all, jobText{full: name, text: text})
	}
	for i := range f.Folders {
		if err := addJobTexts(all, job.Join(full, f.Folders[i].Name), &f.Folders[i], inherited); err != nil {
			return err
		}
	}
	return nil
}

// canonical encodes v so that equal things have equal texts, also where v holds
// JSON as somebody wrote it.
func canonical(v any) ([]byte, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode: %w", err)
	}
	var plain any
	if err := json.Unmarshal(text, &plain); err != nil {
		return nil, fmt.Errorf("encode: %w", err)
	}
	return json.Marshal(plain) // sorts the keys
}

// add makes the jobs of a handler known to the app. A job that another handler
// defines too must be defined equally there: its builds have to run the same,
// whichever way a trigger came.
func (a *App) add(s *site) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, other := range a.sites {
		if full := different(other.texts, s.texts); full != "" {
			return fmt.Errorf("job %q is defined differently in %s and in %s; two sites may share a job only if all that is said about it is equal, also by its folders",
				full, other.place, s.place)
		}
	}
	a.sites = append(a.sites, s)
	return nil
}

// different names the first job that is defined in both and not equally.
func different(one, other []jobText) string {
	known := make(map[string][]byte, len(one))
	for _, t := range one {
		known[t.full] = t.text
	}
	for _, t := range other {
		if text, ok := known[t.full]; ok && !bytes.Equal(text, t.text) {
			return t.full
		}
	}
	return ""
}
