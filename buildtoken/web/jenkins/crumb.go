package jenkins

import (
	"net/http"
	"strings"
)

// A crumb is Jenkins' guard against requests that other sites make a browser
// send. We look at what browsers say of the origin instead, but clients ask
// for a crumb before each POST, and some do nothing without one. So there is one,
// always the same, and nobody looks at it.
const (
	crumbField = "Jenkins-Crumb"
	crumb      = "00000000000000000000000000000000"
)

func (r *reader) serveCrumb(rest []string) {
	if len(rest) == 2 && rest[0] == "api" && rest[1] == "xml" {
		r.crumbXML()
		return
	}
	r.export(rest, func(*view) object {
		return object{
			{"_class", "hudson.security.csrf.DefaultCrumbIssuer"},
			{"crumb", crumb},
			{"crumbRequestField", crumbField},
		}
	})
}

// crumbXML answers the one question that shell scripts ask of api/xml: the
// field and the crumb with a separator between, ready to be a header.
func (r *reader) crumbXML() {
	if !r.reading() {
		return
	}
	inside, ok := strings.CutPrefix(r.form.text("xpath"), "concat(//crumbRequestField,")
	inside, okEnd := strings.CutSuffix(inside, ",//crumb)")
	if !ok || !okEnd || len(inside) < 2 || (inside[0] != '"' && inside[0] != '\'') || inside[len(inside)-1] != inside[0] {
		r.fail(errNotFound)
		return
	}
	r.write(http.StatusOK, plainText, crumbField+inside[1:len(inside)-1]+crumb)
}
