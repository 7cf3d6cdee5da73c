package jenkins

import (
	"net/http"
	"strings"

	"github.com/buildtoken/buildtoken/buildtoken/web"
)

// A crumb is Jenkins' guard against requests that other sites make a browser send. We
// check the origin that browsers send instead. But clients request a crumb before each
// POST, and some refuse to go on without one, so there is one. It is always the same and
// is never checked.
const (
	crumbField = "Jenkins-Crumb"
	crumb      = "00000000000000000000000000000000"
)

func (r *reader) serveCrumb(rest web.Path) error {
	if rest.Is("api", "xml") {
		return r.crumbXML()
	}
	return r.export(rest, func(*view) object {
		return object{
			{"_class", "hudson.security.csrf.DefaultCrumbIssuer"},
			{"crumb", crumb},
			{"crumbRequestField", crumbField},
		}
	})
}

// crumbXML answers the one question that shell scripts ask of api/xml: the field and the
// crumb with a separator between them, ready to be a header.
func (r *reader) crumbXML() error {
	if err := r.reading(); err != nil {
		return err
	}
	inside, ok := strings.CutPrefix(r.form.Text("xpath"), "concat(//crumbRequestField,")
	inside, okEnd := strings.CutSuffix(inside, ",//crumb)")
	if !ok || !okEnd || len(inside) < 2 || (inside[0] != '"' && inside[0] != '\'') || inside[len(inside)-1] != inside[0] {
		return web.ErrNotFound
	}
	r.Write(http.StatusOK, web.PlainText, crumbField+inside[1:len(inside)-1]+crumb)
	return nil
}
