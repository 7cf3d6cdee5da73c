package jenkinsrunner

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/url"
	"os"
	"strings"
)

// form is the body of a trigger: the parameters, the files, the job token and the mark. Secrets are in the body because
// servers log URLs.
type form struct {
	body   io.Reader
	length int64
	kind   string
	files  []*os.File
}

func (f *form) close() {
	for _, file := range f.files {
		_ = file.Close() // it was only read
	}
}

// fields returns the names and values of the form, except files.
func (l *relay) fields() [][2]string {
	var all [][2]string
	if token := l.jobToken(); token != "" {
		all = append(all, [2]string{"token", token}, [2]string{"cause", l.mark()})
	}
	for _, p := range l.build.Params {
		if p.File == "" {
			all = append(all, [2]string{p.Name, p.Value})
		}
	}
	return all
}

// form returns the body. The caller must close it.
func (l *relay) form() (*form, error) {
	multi := false
	for _, p := range l.build.Params {
		multi = multi || p.File != ""
	}
	if multi {
		return l.multipart()
	}
	values := url.Values{}
	for _, f := range l.fields() {
		values.Add(f[0], f[1])
	}
	text := values.Encode()
	return &form{body: strings.NewReader(text), length: int64(len(text)), kind: "application/x-www-form-urlencoded"}, nil
}

// multipart returns the body of a build with files, which are read while it is sent.
func (l *relay) multipart() (*form, error) {
	var text bytes.Buffer
	var parts []io.Reader
	w := multipart.NewWriter(&text)
	f := &form{kind: w.FormDataContentType()}
	flush := func() {
		f.length += int64(text.Len())
		parts = append(parts, strings.NewReader(text.String()))
		text.Reset()
	}
	for _, field := range l.fields() {
		_ = w.WriteField(field[0], field[1]) // a Buffer takes everything
	}
	for _, p := range l.build.Params {
		if p.File == "" {
			continue
		}
		var info os.FileInfo
		file, err := os.Open(p.File)
		if err == nil {
			f.files = append(f.files, file)
			info, err = file.Stat()
		}
		if err != nil {
			f.close()
			return nil, fmt.Errorf("the file of parameter %s cannot be read: %w", p.Name, errors.Unwrap(err))
		}
		_, _ = w.CreateFormFile(p.Name, p.Value) // a Buffer takes everything
		flush()
		parts = append(parts, io.LimitReader(file, info.Size()))
		f.length += info.Size()
	}
	_ = w.Close()
	flush()
	f.body = io.MultiReader(parts...)
	return f, nil
}
