package jenkinshome

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// ErrXML is returned for a file that is not the XML of a Jenkins.
var ErrXML = errors.New("jenkinshome: unusable XML")

const (
	maxDepth    = 500     // of elements
	maxElements = 500_000 // in one file
)

// Parse reads a file of Jenkins. Beyond what encoding/xml accepts, it reads XML 1.1,
// references to control characters and to surrogates, and files that are declared as
// Latin-1 or ASCII. It refuses document types, so no entity is ever expanded, more than one
// root, and text outside the root. References of XStream are resolved. All errors wrap
// [ErrXML]; none of them quotes text of the file.
func Parse(file []byte) (*Element, error) {
	text, err := prepare(file)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrXML, err)
	}
	t := tree{decoder: xml.NewDecoder(bytes.NewReader(text))}
	if err := t.read(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrXML, err)
	}
	t.root.resolve()
	return t.root, nil
}

// tree is a file while it is read.
type tree struct {
	decoder  *xml.Decoder
	root, at *Element // at is the innermost element that is open
	texts    []*strings.Builder
	elements int
}

func (t *tree) read() error {
	for {
		token, err := t.decoder.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err //nolint:wrapcheck // it has the line
		}
		if err := t.add(token); err != nil {
			line, _ := t.decoder.InputPos()
			return fmt.Errorf("line %d: %w", line, err)
		}
	}
	if t.root == nil {
		return errors.New("the file has no element")
	}
	return nil
}

func (t *tree) add(token xml.Token) error {
	switch token := token.(type) {
	case xml.StartElement:
		return t.open(token)
	case xml.EndElement:
		t.close()
	case xml.CharData:
		return t.text(string(token))
	case xml.ProcInst:
		if token.Target == characterTarget {
			code, err := strconv.ParseUint(string(token.Inst), 16, 5) // control characters have no more bits
			if err != nil || code == 0 {
				return errors.New("a processing instruction that Jenkins does not write")
			}
			return t.text(string(rune(code)))
		}
	case xml.Directive:
		return errors.New("a document type is refused, because it could define entities; remove it")
	}
	return nil
}

func (t *tree) text(text string) error {
	if t.at == nil {
		if strings.TrimSpace(text) != "" {
			return errors.New("text outside the root element")
		}
		return nil
	}
	t.texts[len(t.texts)-1].WriteString(text)
	return nil
}

func (t *tree) open(start xml.StartElement) error {
	t.elements++
	switch {
	case t.at == nil && t.root != nil:
		return errors.New("a second root element")
	case len(t.texts) == maxDepth:
		return fmt.Errorf("more than %d elements inside each other", maxDepth)
	case t.elements > maxElements:
		return fmt.Errorf("more than %d elements", maxElements)
	}
	e := &Element{Name: javaName(start.Name.Local), parent: t.at}
	for _, attr := range start.Attr {
		switch attr.Name.Local {
		case "class":
			e.Class = attr.Value
		case "reference":
			e.reference = attr.Value
		}
	}
	if t.at == nil {
		t.root = e
	} else {
		t.at.add(e)
	}
	t.at = e
	t.texts = append(t.texts, new(strings.Builder))
	return nil
}

func (t *tree) close() {
	text := t.texts[len(t.texts)-1].String()
	if len(t.at.Children) == 0 || strings.TrimSpace(text) != "" {
		t.at.Text = text
	}
	t.at, t.texts = t.at.parent, t.texts[:len(t.texts)-1]
}

// javaName undoes the escapes of XStream: _- is $, __ is _.
func javaName(name string) string {
	return xstream.Replace(name)
}

var xstream = strings.NewReplacer("__", "_", "_-", "$")
