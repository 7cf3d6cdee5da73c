package web_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/buildtoken/buildtoken/buildtoken/web"
)

func TestReadForm(t *testing.T) {
	const form, multi = "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"
	part := func(disposition, content string) string {
		return "--x\r\nContent-Disposition: form-data; " + disposition + "\r\n\r\n" + content + "\r\n"
	}
	for _, tt := range []struct {
		name, query, contentType, body string
		want                           formOf
		problem                        string
	}{
		{"nothing", "", "", "", formOf{}, ""},
		{"query before form", "A=1&A=2&B", form, "A=3&&C=%26+", formOf{Values: map[string][]string{"A": {"1", "2", "3"}, "B": {""}, "C": {"& "}}}, ""},
		{"a token is no value", "token=", form, "token=x", formOf{Presented: true}, ""},
		{"JSON is left alone", "A=1", "application/json", `{"A": 2}`, formOf{Values: map[string][]string{"A": {"1"}}}, ""},
		{"a type that can't be read", "A=1", "application/x-www-form-urlencoded;;=", "A=2", formOf{Values: map[string][]string{"A": {"1"}}}, ""},
		{"too many", strings.Repeat("A&", 10_001), "", "", formOf{}, "too many parameters, at most 10000"},
		{"too many together", strings.Repeat("A&", 5_000), form, strings.Repeat("B&", 5_001), formOf{}, "too many parameters, at most 10000"},
		{"just enough", strings.Repeat("token&", 10_000), "", "", formOf{Presented: true}, ""},
		{"too large", "", form, strings.Repeat("A", 1<<20+1), formOf{}, "the body is larger than 1048576 bytes"},
		{"too large before malformed", "%", form, strings.Repeat("A", 1<<20+1), formOf{}, "the body is larger than 1048576 bytes"},
		{"both malformed", "%", form, "%", formOf{}, "malformed query: a % must be followed by two hexadecimal digits"},
		{"delay is no text", "delay=%ff", "", "", formOf{}, "delay is not valid UTF-8"},
		{"job is no text", "job=%ff", "", "", formOf{}, "job is not valid UTF-8"},
		{"cause is no text", "cause=%00", "", "", formOf{}, "cause holds a NUL character"},
		{"item is no text", "item=%ff", "", "", formOf{}, "item is not valid UTF-8"},
		{"start is no text", "start=%ff", "", "", formOf{}, "start is not valid UTF-8"},
		{"a form in parts", "A=1", multi, part(`name="A"`, "2") + part(`name="F"; filename="f"`, "3") + "--x--", formOf{Values: map[string][]string{"A": {"1", "2"}}, Files: []string{"F"}}, ""},
		{"parts that are too many", "", multi, strings.Repeat(part(`name="A"`, ""), 1500) + "--x--", formOf{}, "the multipart body has too many parts, or too large ones"},
		{"as many parts as there may be", "", multi, strings.Repeat(part(`name="token"`, ""), 1000) + "--x--", formOf{Presented: true}, ""},
		{"one part more", "", multi, strings.Repeat(part(`name="token"`, ""), 1001) + "--x--", formOf{}, "the multipart body has too many parts, or too large ones"},
		{"a part without a name", "", multi, part("x", "1") + part(`name="A"`, "2") + "--x--", formOf{Values: map[string][]string{"A": {"2"}}}, ""},
		{"a form as large as it may be", "", form, "token=" + strings.Repeat("A", 1<<20-6), formOf{Presented: true}, ""},
		{"values as large as they may be together", "", multi, part(`name="token"`, strings.Repeat("A", 1<<19)) + part(`name="token"`, strings.Repeat("A", 1<<19-1000)) + "--x--", formOf{Presented: true}, ""},
		{"values that are too large together", "", multi, part(`name="A"`, strings.Repeat("A", 1<<19)) + part(`name="B"`, strings.Repeat("B", 1<<19+1)) + "--x--", formOf{}, "the body is larger than 1048576 bytes"},
		{"too many values and files", strings.Repeat("A&", 10_000), multi, part(`name="F"; filename="f"`, "3") + "--x--", formOf{}, "too many parameters, at most 10000"},
		{"too many values, of which one is in a part", strings.Repeat("A&", 10_000), multi, part(`name="A"`, "3") + "--x--", formOf{}, "too many parameters, at most 10000"},
		{"no boundary", "", "multipart/form-data", "x", formOf{}, "malformed multipart body: no boundary"},
		{"a semicolon in the query", "A=1;B=2", "", "", formOf{}, "malformed query: write a semicolon as %3B"},
		{"a semicolon in the form", "", form, "A=1;B=2", formOf{}, "malformed form: write a semicolon as %3B"},
		{"a malformed name", "%zz=1", "", "", formOf{}, "malformed query: a % must be followed by two hexadecimal digits"},
		{"parts that are too large", "", multi, part(`name="A"`, strings.Repeat("A", 1<<20+1)) + "--x--", formOf{}, "the body is larger than 1048576 bytes"},
		{"a part without an end", "", multi, part(`name="A"`, "2"), formOf{}, "malformed multipart body"},
		{"a file whose parameter is no text", "", multi, part("name=\"F\xff\"; filename=\"f\"", "3") + "--x--", formOf{}, "the name of a file is not valid UTF-8"},
		{"other parts are left alone", "", "multipart/mixed; boundary=x", part(`name="A"`, "2") + "--x--", formOf{}, ""},
		{"a body that is no form, as large as it may be", "A=1", "application/json", strings.Repeat(" ", 32<<20), formOf{Values: map[string][]string{"A": {"1"}}}, ""},
		{"a body that is no form and too large", "A=1", "application/json", strings.Repeat(" ", 32<<20+1), formOf{}, "the body is larger than 33554432 bytes"},
		{"NUL in a name", "a%00=1", "", "", formOf{}, "the name of a parameter holds a NUL character"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", strings.NewReader(tt.body))
			r.URL.RawQuery = tt.query
			r.Header.Set("Content-Type", tt.contentType)
			got, err := readForm(t, r)
			if tt.problem != "" {
				if err == nil || err.Error() != tt.problem {
					t.Errorf("ReadForm: %v, want %q", err, tt.problem)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("ReadForm (-want +got):\n%s", diff)
			}
		})
	}
}

// A page's form is in the body alone, and nothing else may be there.
func TestReadFormOfABody(t *testing.T) {
	for _, tt := range []struct {
		name, contentType, body string
		values                  map[string][]string
		problem                 string
	}{
		{"a form", "application/x-www-form-urlencoded", "A=2", map[string][]string{"A": {"2"}}, ""},
		{"a form that begins as JSON does", "application/x-www-form-urlencoded", "[A=2", map[string][]string{"[A": {"2"}}, ""},
		{"no form", "application/json", "{}", nil, "the body is not a form"},
		{"nothing", "", "", nil, ""},
	} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/?A=1", strings.NewReader(tt.body))
		r.Header.Set("Content-Type", tt.contentType)
		q := new(web.Site).Request(httptest.NewRecorder(), r)
		end := q.Begin().End
		f, err := q.ReadForm(web.FormOptions{BodyOnly: true})
		if err != nil || tt.problem != "" {
			if err == nil || err.Error() != tt.problem {
				t.Errorf("%s: %v, want %q", tt.name, err, tt.problem)
			}
		} else {
			if diff := cmp.Diff(tt.values, f.Values()); diff != "" {
				t.Errorf("%s: values (-want +got):\n%s", tt.name, diff)
			}
			f.Close()
		}
		end()
	}
}

// A browser sends a file that was not chosen without a name.
func TestFilesThatWereNotChosen(t *testing.T) {
	body := "--x\r\nContent-Disposition: form-data; name=\"A\"; filename=\"\"\r\n\r\n\r\n" +
		"--x\r\nContent-Disposition: form-data; name=\"B\"; filename=\"b.txt\"\r\n\r\ntext\r\n--x--"
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", strings.NewReader(body))
	r.Header.Set("Content-Type", "multipart/form-data; boundary=x")
	q := new(web.Site).Request(httptest.NewRecorder(), r)
	defer q.Begin().End()
	f, err := q.ReadForm(web.FormOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for chosen, want := range map[bool]map[string]string{true: {"B": "b.txt: text"}, false: {"A": ": ", "B": "b.txt: text"}} {
		got := map[string]string{}
		for name, u := range f.Uploads(chosen) {
			in, err := u.Open()
			if err != nil {
				t.Fatal(err)
			}
			text, err := io.ReadAll(in)
			if err := errors.Join(err, in.Close()); err != nil || int64(len(text)) != u.Size {
				t.Errorf("file %s: %d bytes, %v, want %d", name, len(text), err, u.Size)
			}
			got[name] = u.Name + ": " + string(text)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("files, chosen ones alone: %v (-want +got):\n%s", chosen, diff)
		}
	}
}

// Jenkins' own form sends the parameters in a field json, and repeats their names and values.
func TestReadJSON(t *testing.T) {
	for _, tt := range []struct {
		name, form, json string
		want             map[string][]string
		problem          string
	}{
		{"no json", "name=x&value=y", "", map[string][]string{"name": {"x"}, "value": {"y"}}, ""},
		{"the form of Jenkins", "name=A&value=1", `{"parameter": [{"name": "A", "value": "1"}]}`, map[string][]string{"A": {"1"}}, ""},
		{"no parameters", "name=x&value=y", `{"parameter": []}`, map[string][]string{"name": {"x"}, "value": {"y"}}, ""},
		{"a single parameter", "", `{"parameter": {"name": "A", "value": true}}`, map[string][]string{"A": {"true"}}, ""},
		{"a number keeps its digits", "", `{"parameter": [{"name": "A", "value": 1.50}]}`, map[string][]string{"A": {"1.50"}}, ""},
		{"as members", "", `{"B": 2.0, "A": "1", "": {}, "statusCode": "303", "redirectTo": ".", "Submit": "x", "Jenkins-Crumb": "x", ".crumb": "x", "core:apply": ""}`, map[string][]string{"A": {"1"}, "B": {"2.0"}}, ""},
		{"names that no parameter has", "", `{"parameter": [{"name": "job", "value": "x"}, {"name": "token", "value": "x"}, {"name": "delay", "value": "x"}, {"name": "cause", "value": "x"}, {"name": "json", "value": "x"}]}`, nil, ""},
		{"a value that the form has too", "A=1", `{"parameter": [{"name": "A", "value": "1"}]}`, map[string][]string{"A": {"1"}}, ""},
		{"a value that differs from the form's", "A=1", `{"parameter": [{"name": "A", "value": "2"}]}`, nil, `json: parameter "A" is given twice, with different values`},
		{"a value beside several of the form", "A=1&A=1", `{"parameter": [{"name": "A", "value": "1"}]}`, nil, `json: parameter "A" is given twice, with different values`},
		{"a value twice", "", `{"parameter": [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]}`, nil, `json: parameter "A" is given twice, with different values`},
		{"json twice", "json=x", `{}`, nil, "json is given more than once"},
		{"no name", "", `{"parameter": [{"value": "1"}]}`, nil, "json: a parameter has no name"},
		{"an empty name", "", `{"parameter": [{"name": "", "value": "1"}]}`, nil, "json: a parameter has no name"},
		{"a name that is no text", "", `{"parameter": [{"name": "A\u0000", "value": "1"}]}`, nil, "the name of a parameter holds a NUL character"},
		{"a list as a value", "", `{"parameter": [{"name": "A", "value": [1]}]}`, nil, `json: parameter "A": the value is neither a text, a number nor a boolean`},
		{"no value", "", `{"parameter": [{"name": "A"}]}`, nil, `json: parameter "A": the value is neither a text, a number nor a boolean`},
		{"a file that is not there", "", `{"parameter": [{"name": "A", "file": "file0"}]}`, nil, `json: parameter "A": there is no file "file0" in the request`},
		{"no object", "", `[]`, nil, `json is malformed: want {"parameter": [{"name": …, "value": …}]}`},
		{"null", "", `null`, nil, `json is malformed: want {"parameter": [{"name": …, "value": …}]}`},
		{"parameters that are null", "", `{"parameter": null}`, nil, `json: parameter is malformed: want a list of {"name": …, "value": …}`},
		{"parameters that are no list", "", `{"parameter": 7}`, nil, `json: parameter is malformed: want a list of {"name": …, "value": …}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			form := tt.form
			if tt.json != "" {
				form += "&json=" + url.QueryEscape(tt.json)
			}
			q := new(web.Site).Request(httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/?"+form, nil))
			defer q.Begin().End()
			f, err := q.ReadForm(web.FormOptions{})
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if err := f.ReadJSON(); err != nil || tt.problem != "" {
				if err == nil || err.Error() != tt.problem {
					t.Errorf("ReadJSON: %v, want %q", err, tt.problem)
				}
				return
			}
			if diff := cmp.Diff(tt.want, f.Values()); diff != "" {
				t.Errorf("values (-want +got):\n%s", diff)
			}
		})
	}
}

// formOf is the content of a request.
type formOf struct {
	Values    map[string][]string
	Files     []string
	Presented bool
}

// readForm reads query and body.
func readForm(t *testing.T, r *http.Request) (formOf, error) {
	t.Helper()
	q := (&web.Site{}).Request(httptest.NewRecorder(), r)
	defer q.Begin().End()
	f, err := q.ReadForm(web.FormOptions{})
	if err != nil {
		return formOf{}, err
	}
	defer f.Close()
	read := formOf{Values: f.Values(), Presented: f.Presented}
	for name := range f.Uploads(false) {
		read.Files = append(read.Files, name)
	}
	return read, nil
}

// A request can go on for long after its form was closed, and still use a value of it.
func TestValuesStayAfterAFormIsClosed(t *testing.T) {
	for n := range 8 {
		query := "start=17"
		for i := range n {
			query = fmt.Sprintf("p%d=x&%s", i, query)
		}
		q := (&web.Site{}).Request(httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/?"+query, nil))
		defer q.Begin().End()
		f, err := q.ReadForm(web.FormOptions{})
		if err != nil {
			t.Fatal(err)
		}
		start, none := f.First("start"), f.First("stop")
		f.Close()
		if start == nil || *start != "17" || none != nil {
			t.Errorf("after %d other values: First = %v and %v, want 17 and nil", n, start, none)
		}
	}
}

// A form is read before any token is checked, so its cost does not grow with the square of its size.
func TestJSONFormCostsWhatItsSizeCosts(t *testing.T) {
	members := func(n int) uint64 {
		sent := map[string]int{}
		for i := range n {
			sent[fmt.Sprint("name", i)] = i
		}
		text, err := json.Marshal(sent)
		if err != nil {
			t.Fatal(err)
		}
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", strings.NewReader(url.Values{"json": {string(text)}}.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		q := new(web.Site).Request(httptest.NewRecorder(), r)
		defer q.Begin().End()
		form, err := q.ReadForm(web.FormOptions{})
		if err != nil {
			t.Fatal(err)
		}
		defer form.Close()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		if err := form.ReadJSON(); err != nil {
			t.Fatal(err)
		}
		runtime.ReadMemStats(&after)
		if got := len(form.Values()); got != n {
			t.Fatalf("%d values, want %d", got, n)
		}
		return after.TotalAlloc - before.TotalAlloc
	}
	if small, large := members(400), members(4000); large > 20*small {
		t.Errorf("ten times as many parameters take %d bytes of memory instead of %d", large, small)
	}
}
