package jenkinstest

import (
	"bytes"
	"io"
	"maps"
	"mime/multipart"
	"net/http"
	"net/url"
	"regexp"
	"slices"
)

// parseForm reads the parameters of a request whose body was read.
func parseForm(r *http.Request, body []byte) error {
	r.Body = io.NopCloser(bytes.NewReader(body))
	if err := r.ParseMultipartForm(32 << 20); err != nil && err != http.ErrNotMultipart { //nolint:errorlint // it is returned as it is
		return err
	}
	return nil
}

// values returns the parameters of a build: what the request has, else the defaults.
func values(j *job, r *http.Request) map[string]string {
	all := maps.Clone(j.Params)
	for name := range all {
		if r.Form.Has(name) {
			all[name] = r.Form.Get(name)
		}
	}
	return all
}

// uploads returns the files of a build.
func uploads(j *job, r *http.Request) map[string]File {
	all := map[string]File{}
	if r.MultipartForm == nil {
		return all
	}
	for _, name := range j.Files {
		for _, header := range r.MultipartForm.File[name] {
			all[name] = File{header.Filename, content(header)}
		}
	}
	return all
}

func content(header *multipart.FileHeader) string {
	f, err := header.Open()
	if err != nil {
		return err.Error()
	}
	defer func() { _ = f.Close() }() // it was only read
	text, _ := io.ReadAll(f)         // of memory
	return string(text)
}

func describeCauses(causes []Cause) []any {
	list := []any{}
	for _, c := range causes {
		one := map[string]any{"_class": "hudson.model.Cause$UserIdCause", "shortDescription": c.Description}
		if c.Note != "" {
			one["_class"], one["note"] = "hudson.model.Cause$RemoteCause", c.Note
		}
		list = append(list, one)
	}
	return []any{map[string]any{}, map[string]any{"_class": "hudson.model.CauseAction", "causes": list}}
}

// describeItem is the JSON of an item. The caller holds mu of the server.
func (s *Server) describeItem(it *item) map[string]any {
	o := map[string]any{
		"_class": "hudson.model.Queue$WaitingItem", "actions": describeCauses(it.causes), "id": it.id,
		"task": map[string]any{"name": it.job.Name}, "why": "Waiting for next available executor",
	}
	if !it.left.IsZero() {
		o["_class"], o["why"], o["cancelled"], o["executable"] = "hudson.model.Queue$LeftItem", nil, it.cancelled, nil
		if it.build != nil && !s.faults.NoExecutable {
			// Clients must not follow this URL: behind a proxy it is wrong.
			o["executable"] = map[string]any{"number": it.build.Number, "url": "http://jenkins.invalid/"}
		}
	}
	return o
}

// describeJob is the JSON of a job. The caller holds mu of the server.
func (s *Server) describeJob(j *job) map[string]any {
	builds := []any{}
	for _, b := range slices.Backward(j.builds) {
		if b != nil && len(builds) < 100 {
			builds = append(builds, describeBuild(b))
		}
	}
	property := []any{}
	if j.parameterized() && !s.faults.HideParameters {
		list := []any{}
		for _, name := range slices.Concat(slices.Sorted(maps.Keys(j.Params)), j.Files) {
			list = append(list, map[string]any{"name": name})
		}
		property = append(property, map[string]any{"_class": "hudson.model.ParametersDefinitionProperty", "parameterDefinitions": list})
	}
	var queued any
	for _, it := range s.order {
		if it.job == j {
			queued = s.describeItem(it)
		}
	}
	return map[string]any{
		"_class": "hudson.model.FreeStyleProject", "fullName": j.Name, "buildable": !j.Disabled, "builds": builds,
		"nextBuildNumber": len(j.builds) + 1, "inQueue": queued != nil, "queueItem": queued, "property": property,
	}
}

func describeBuild(b *Build) map[string]any {
	b.mu.Lock()
	defer b.mu.Unlock()
	o := map[string]any{
		"_class": "hudson.model.FreeStyleBuild", "number": b.Number, "queueId": b.QueueID, "actions": describeCauses(b.Causes),
		"building": b.ended.IsZero(), "inProgress": b.ended.IsZero(), "result": nil, "timestamp": b.began.UnixMilli(),
	}
	if b.result != "" {
		o["result"] = b.result
	}
	return o
}

// notes are the annotations that Jenkins hides in its logs.
var notes = regexp.MustCompile("\x1b\\[8mha:.*?\x1b\\[0m")

func stripNotes(log string) string { return notes.ReplaceAllString(log, "") }

func unescape(segment string) string {
	text, err := url.PathUnescape(segment)
	if err != nil {
		return segment
	}
	return text
}
