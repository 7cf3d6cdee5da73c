package jenkinshome_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/buildtoken/buildtoken/caddy-module/jenkinshome"
)

// show returns a tree as one line, with the marks of lines and control characters visible.
func show(e *jenkinshome.Element) string {
	text := e.Name
	if e.Class != "" {
		text += ":" + e.Class
	}
	if e.Text != "" {
		text += "=" + strings.NewReplacer("\n", `\n`, "\r", `\r`, "\t", `\t`, "\x1b", "ESC", "\x01", "SOH", "\x1f", "US").Replace(e.Text)
	}
	if len(e.Children) == 0 {
		return text
	}
	var children []string
	for _, child := range e.Children {
		children = append(children, show(child))
	}
	return text + "(" + strings.Join(children, " ") + ")"
}

// accepted are texts and the trees that they become.
var accepted = []struct{ name, in, want string }{
	{"a file without a declaration", `<project><description>x</description></project>`, "project(description=x)"},
	{"XML 1.1 in single quotes", "<?xml version='1.1' encoding='UTF-8'?>\n<project/>", "project"},
	{"XML 1.0 in double quotes", `<?xml version="1.0" encoding="UTF-8" standalone="yes"?><project/>`, "project"},
	{"a byte order mark", "\xef\xbb\xbf<?xml version='1.1'?><project/>", "project"},
	{"blank lines before the declaration", "\n \n<?xml version='1.1'?>\n<project/>", "project"},
	{"the encoding utf8", "<?xml version='1.0' encoding='utf8'?><a>ü</a>", "a=ü"},
	{"the encoding US-ASCII", "<?xml version='1.0' encoding='US-ASCII'?><a>&#252;</a>", "a=ü"},
	{"the encoding ISO-8859-1", "<?xml version='1.0' encoding='ISO-8859-1'?><a>\xfc</a>", "a=ü"},
	{"a reference to ESC", `<a>x&#x1b;[1m</a>`, "a=xESC[1m"},
	{"a decimal reference to a control character", `<a>&#1;y</a>`, "a=SOHy"},
	{"such a reference in a CDATA section is text", `<a><![CDATA[&#x1b;]]>&#x1b;</a>`, "a=&#x1b;ESC"},
	{"such a reference in a comment is ignored", `<a><!-- &#x1b; -->x</a>`, "a=x"},
	{"the last control character", `<a>x&#x1f;y&#x20;z</a>`, "a=xUSy z"},
	{"a reference with zeros in front", `<a>&#x00000000000000000000001b;[1m</a>`, "a=ESC[1m"},
	{"a comment ends where it says, whatever is in it", `<a><!-- <![CDATA[ -->x&#x1b;</a>`, "a=xESC"},
	{"a CDATA section ends where it says, whatever is in it", `<a><![CDATA[&]]>&#x1b;<![CDATA[<!--]]>&#x1b;</a>`, "a=&ESC<!--ESC"},
	{"a private character stays", `<a>&#xF001B;</a>`, "a=\U000F001B"},
	{"a carriage return from a browser", "<command>a&#xd;\nb&#13;\n</command>", `command=a\r\nb\r\n`},
	{"line ends of Windows", "<a>\r\n<b>x\r\ny</b>\r\n</a>", `a(b=x\ny)`},
	{"a pair of references to surrogates", `<a>&#xd83d;&#xde00;</a>`, "a=😀"},
	{"half of a pair", `<a>&#xd83d;x</a>`, "a=\uFFFDx"},
	{"half of a pair before another character", `<a>&#xd83d;&#65;</a>`, "a=\uFFFDA"},
	{"half of a pair before a control character", `<a>&#xd83d;&#x1b;</a>`, "a=\uFFFDESC"},
	{"escapes of XStream", `<a_-B__c><d/></a_-B__c>`, "a$B_c(d)"},
	{"the class of a value", `<choices class="java.util.Arrays$ArrayList"><a class="string-array"/></choices>`, "choices:java.util.Arrays$ArrayList(a:string-array)"},
	{"white space of a value stays", "<a>  x\n</a>", `a=  x\n`},
	{"a value of white space stays", "<a> </a>", "a= "},
	{"text between elements stays", "<a>x<b/>y</a>", "a=xy(b)"},
	{"white space between elements goes", "<a>\n\t<b/>\n</a>", "a(b)"},
	{"other processing instructions are ignored", `<a><?other x?>y</a>`, "a=y"},
	{"as many levels as there may be", strings.Repeat("<a>", 500) + strings.Repeat("</a>", 500), strings.Repeat("a(", 499) + "a" + strings.Repeat(")", 499)},
	{"an ampersand", `<a>a &amp;&amp; b &lt; c</a>`, "a=a && b < c"},
}

// refused are texts, and a part of the error.
var refused = []struct{ name, in, want string }{
	{"an empty file", "", "no element"},
	{"blanks alone", " \n", "no element"},
	{"two roots", "<a/>\n<b/>", "line 2: a second root"},
	{"text behind the root", "<a/>x", "text outside"},
	{"text before the root", "x<a/>", "text outside"},
	{"a control character behind the root", "<a/>&#x1b;", "text outside"},
	{"a document type", `<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>`, "document type"},
	{"an unknown entity", `<a>&b;</a>`, "entity"},
	{"an instruction like ours that is no number", `<a><?jenkinshome-character x?></a>`, "a processing instruction that Jenkins does not write"},
	{"an instruction like ours that is no control character", `<a><?jenkinshome-character 100?></a>`, "a processing instruction that Jenkins does not write"},
	{"an instruction like ours with the first other character", `<a><?jenkinshome-character 20?></a>`, "a processing instruction that Jenkins does not write"},
	{"an instruction like ours that no reference can become", `<a><?jenkinshome-character 0?></a>`, "a processing instruction that Jenkins does not write"},
	{"a file that ends too early", `<a><b>`, "unexpected EOF"},
	{"an end without a beginning", `</a>`, "unexpected end"},
	{"XML 2.0", `<?xml version='2.0'?><a/>`, "version"},
	{"UTF-16", "\xff\xfe<\x00a\x00", "UTF-16"},
	{"UTF-16 in the other order", "\xfe\xff\x00<\x00a", "UTF-16"},
	{"another encoding", `<?xml version='1.0' encoding='EUC-KR'?><a/>`, `"EUC-KR"`},
	{"not UTF-8", "<a>\xfc</a>", "UTF-8"},
	{"a reference to NUL", `<a>&#0;</a>`, "illegal character code"},
	{"a reference without a number", `<a>&#;</a>`, "invalid character entity"},
	{"a reference to a character with letters", `<a>&#xg;</a>`, "invalid character entity"},
	{"a reference without its end", `<a>&#27</a>`, "invalid character entity"},
	{"a reference beyond Unicode", `<a>&#x110000;</a>`, "invalid"},
	{"a control character as it is", "<a>\x1b</a>", "illegal"},
	{"too many levels", strings.Repeat("<a>", 501), "inside each other"},
	{"a secret is not quoted", `<authToken>hunter2`, "EOF"},
}

func TestParse(t *testing.T) {
	for _, tt := range accepted {
		t.Run(tt.name, func(t *testing.T) {
			root, err := jenkinshome.Parse([]byte(tt.in))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, show(root)); diff != "" {
				t.Errorf("Parse (-want +got):\n%s", diff)
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	for _, tt := range refused {
		t.Run(tt.name, func(t *testing.T) {
			_, err := jenkinshome.Parse([]byte(tt.in))
			if !errors.Is(err, jenkinshome.ErrXML) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Parse = %v, want %v with %q", err, jenkinshome.ErrXML, tt.want)
			}
			if err != nil && strings.Contains(err.Error(), "hunter2") {
				t.Errorf("the error quotes the file: %v", err)
			}
		})
	}
}

// TestReferences follows references as XStream writes them.
func TestReferences(t *testing.T) {
	root, err := jenkinshome.Parse([]byte(`<project>
		<builders><hudson.tasks.Shell><command>a</command></hudson.tasks.Shell><hudson.tasks.Shell><command>b</command></hudson.tasks.Shell></builders>
		<again><relative reference="../../builders/hudson.tasks.Shell[2]"/><absolute reference="/project/builders/hudson.tasks.Shell"/>
			<chain reference="../relative"/><owner reference="../.."/><gone reference="../nothing"/><wrong reference="/other/builders"/>
			<itself reference="."/><above reference="../../../.."/><index reference="../../builders/hudson.tasks.Shell[x]"/></again>
	</project>`))
	if err != nil {
		t.Fatal(err)
	}
	again := root.Take("again")
	for name, want := range map[string]string{"relative": "b", "absolute": "a", "chain": "b"} {
		if got := again.Take(name).TakeText("command"); got != want {
			t.Errorf("%s has the command %q, want %q", name, got, want)
		}
	}
	if again.Take("owner") != root {
		t.Error("owner is not the root")
	}
	for _, name := range []string{"gone", "wrong", "itself", "above", "index"} {
		if !again.Take(name).Dangling() {
			t.Errorf("%s does not dangle", name)
		}
	}
}

// What a reference leads to was taken with the reference.
func TestReferencesTakeTheirTargets(t *testing.T) {
	root, err := jenkinshome.Parse([]byte(`<project><properties><a>1</a><b>2</b></properties><again reference="../properties/a"/></project>`))
	if err != nil {
		t.Fatal(err)
	}
	root.Take("properties")
	root.Take("again")
	if left := root.Left(); len(left) != 1 || left[0].Path() != "properties/b" {
		t.Errorf("%d elements are left, want properties/b alone", len(left))
	}
}

// TestLeft lists the elements that were not used, with their places.
func TestLeft(t *testing.T) {
	root, err := jenkinshome.Parse([]byte(`<project><description>x</description><actions/><empty><a/></empty><publishers>
		<hudson.tasks.Mailer/><hudson.tasks.Mailer><to>me</to></hudson.tasks.Mailer></publishers>
		<scm class="hudson.scm.NullSCM"/><properties><a>1</a><b>2</b></properties></project>`))
	if err != nil {
		t.Fatal(err)
	}
	root.Take("description")
	root.Take("publishers")
	root.Take("properties").Take("a")
	var got []string
	for _, e := range root.Left() {
		got = append(got, e.Path())
	}
	want := []string{"publishers/hudson.tasks.Mailer[1]", "publishers/hudson.tasks.Mailer[2]", "scm", "properties/b"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Left (-want +got):\n%s", diff)
	}
	root.Take("publishers").TakeWhole()
	if left := root.Left(); len(left) != 2 {
		t.Errorf("%d elements are left, want 2", len(left))
	}
}

func TestMissingElements(t *testing.T) {
	root, err := jenkinshome.Parse([]byte(`<project/>`))
	if err != nil {
		t.Fatal(err)
	}
	missing := root.Take("a").Take("b")
	missing.TakeWhole()
	if missing != nil || missing.TakeText("c") != "" || missing.TakeAll() != nil || missing.Peek() != nil || missing.Dangling() {
		t.Error("a missing element has something")
	}
}

// FuzzParse looks for files that make the reader panic or return an invalid result: all text
// must be valid, and every path must lead to its element.
func FuzzParse(f *testing.F) {
	for _, tt := range accepted {
		f.Add([]byte(tt.in))
	}
	for _, tt := range refused {
		f.Add([]byte(tt.in))
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		root, err := jenkinshome.Parse(file)
		if err != nil {
			if !errors.Is(err, jenkinshome.ErrXML) {
				t.Errorf("Parse = %v, want %v", err, jenkinshome.ErrXML)
			}
			return
		}
		left := root.Left()
		for _, e := range left {
			if e.Path() == "" {
				t.Error("an element without a path")
			}
		}
		check(t, root)
		root.TakeWhole()
		if left := root.Left(); len(left) != 0 {
			t.Errorf("%d elements are left after all were taken", len(left))
		}
	})
}

func check(t *testing.T, e *jenkinshome.Element) {
	if strings.ToValidUTF8(e.Text, "") != e.Text || strings.Contains(e.Text, "\x00") {
		t.Errorf("%s has the text %q", e.Path(), e.Text)
	}
	for _, child := range e.Children {
		check(t, child)
	}
}

// A file with as many elements as there may be takes seconds: each is found by its place among those of
// its name, and not by a search.
func TestManyElementsOfOneName(t *testing.T) {
	const n = 249_999
	file := "<project><c/>" + strings.Repeat("<a>x</a>", n-1) + "<a>last</a>" + strings.Repeat(fmt.Sprintf(`<b reference="../a[%d]"/>`, n), n) + "</project>"
	root, err := jenkinshome.Parse([]byte(file))
	if err != nil {
		t.Fatal(err)
	}
	all := root.TakeAll()
	if got := all[len(all)-1]; got.Text != "last" || got.Path() != fmt.Sprintf("a[%d]", n) {
		t.Errorf("the last reference leads to %s, %q, want the last a", got.Path(), got.Text)
	}
	for i, e := range all[1 : n+1] {
		if got, want := e.Path(), fmt.Sprintf("a[%d]", i+1); got != want {
			t.Fatalf("element %d: got the path %s, want %s", i, got, want)
		}
	}
}

func TestTooManyElements(t *testing.T) {
	file := "<project>" + strings.Repeat("<a/>", 500_000) + "</project>"
	if _, err := jenkinshome.Parse([]byte(file)); !errors.Is(err, jenkinshome.ErrXML) || !strings.Contains(err.Error(), "more than 500000 elements") {
		t.Errorf("Parse of a file with an element too many = %v, want %v with their number", err, jenkinshome.ErrXML)
	}
}
