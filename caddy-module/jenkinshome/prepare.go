package jenkinshome

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// characterTarget is the target of the processing instructions that stand for references to
// control characters. XML 1.1 allows these references and encoding/xml does not. A processing
// instruction can stand wherever text can, and no text can look like one.
const characterTarget = "jenkinshome-character"

var (
	declaration       = regexp.MustCompile(`^\s*<\?xml\s[^>]*\?>`)
	declaredVersion   = regexp.MustCompile(`\sversion\s*=\s*["']([^"']*)["']`)
	declaredEncoding  = regexp.MustCompile(`\sencoding\s*=\s*["']([^"']*)["']`)
	character         = regexp.MustCompile(`^&#(x?)([0-9A-Fa-f]+);`)
	cdataOpen         = []byte("<![CDATA[")
	cdataClose        = []byte("]]>")
	commentOpen       = []byte("<!--")
	commentClose      = []byte("-->")
	utf8Mark          = []byte("\xef\xbb\xbf")
	utf16Marks        = [][]byte{{0xfe, 0xff}, {0xff, 0xfe}}
	lastControl       = rune(0x1f)
	allowedControls   = "\t\n\r"
	errNoUTF8         = errors.New("the file is not valid UTF-8, and declares no other encoding")
	errUTF16          = errors.New("the file is in UTF-16; convert it to UTF-8")
	errVersion        = errors.New("the XML version is neither 1.0 nor 1.1")
	supportedEncoding = "UTF-8, US-ASCII and ISO-8859-1"
)

// prepare turns a file into UTF-8 that encoding/xml accepts. The declaration is replaced by
// its line ends, so that the lines of errors are those of the file.
func prepare(file []byte) ([]byte, error) {
	for _, mark := range utf16Marks {
		if bytes.HasPrefix(file, mark) {
			return nil, errUTF16
		}
	}
	file = bytes.TrimPrefix(file, utf8Mark)
	encoding := ""
	if found := declaration.Find(file); found != nil {
		if version := declaredVersion.FindSubmatch(found); version == nil || string(version[1]) != "1.0" && string(version[1]) != "1.1" {
			return nil, errVersion
		}
		if declared := declaredEncoding.FindSubmatch(found); declared != nil {
			encoding = string(declared[1])
		}
		file = append(bytes.Repeat([]byte("\n"), bytes.Count(found, []byte("\n"))), file[len(found):]...)
	}
	file, err := toUTF8(file, encoding)
	if err != nil {
		return nil, err
	}
	return rewriteReferences(file), nil
}

func toUTF8(file []byte, encoding string) ([]byte, error) {
	switch strings.ToLower(encoding) {
	case "", "utf-8", "utf8", "us-ascii", "ascii":
		// A file that is declared as ASCII has none of the other characters, or they are UTF-8.
	case "iso-8859-1", "iso8859-1", "iso8859_1", "latin1", "latin-1":
		runes := make([]rune, len(file))
		for i, b := range file {
			runes[i] = rune(b)
		}
		return []byte(string(runes)), nil
	default:
		return nil, fmt.Errorf("the encoding %q is not supported; convert the file to one of %s", encoding, supportedEncoding)
	}
	if !utf8.Valid(file) {
		return nil, errNoUTF8
	}
	return file, nil
}

// rewriteReferences replaces references to control characters, and joins pairs of references
// to surrogates, which old versions of Jenkins wrote. CDATA sections and comments stay as they are.
func rewriteReferences(file []byte) []byte {
	out := make([]byte, 0, len(file))
	for {
		at := bytes.IndexAny(file, "<&")
		if at < 0 {
			return append(out, file...)
		}
		out, file = append(out, file[:at]...), file[at:]
		length := 1
		switch {
		case bytes.HasPrefix(file, cdataOpen):
			length = through(file, cdataClose)
		case bytes.HasPrefix(file, commentOpen):
			length = through(file, commentClose)
		default:
			if replaced, used := rewriteReference(file); used != 0 {
				out, file = append(out, replaced...), file[used:]
				continue
			}
		}
		out, file = append(out, file[:length]...), file[length:]
	}
}

// through returns the length of text up to and with the end of a section.
func through(text, end []byte) int {
	_, after, _ := bytes.Cut(text, end)
	return len(text) - len(after)
}

// rewriteReference returns what replaces the reference with which text begins, and how much of
// text that is: 0 if there is none, or if it stays as it is. encoding/xml reports references that
// are wrong.
func rewriteReference(text []byte) (replaced []byte, used int) {
	code, used := parseReference(text)
	switch {
	case 0 < code && code <= lastControl && !strings.ContainsRune(allowedControls, code):
		return fmt.Appendf(nil, "<?%s %x?>", characterTarget, code), used
	case utf16.IsSurrogate(code):
		low, more := parseReference(text[used:])
		if joined := utf16.DecodeRune(code, low); joined != utf8.RuneError {
			return []byte(string(joined)), used + more
		}
		return []byte(string(utf8.RuneError)), used
	}
	return nil, 0
}

// parseReference parses the reference to a character with which text begins. used is 0 if there
// is none, or if the character needs more than 16 bits: no such character is rewritten.
func parseReference(text []byte) (code rune, used int) {
	if found := character.FindSubmatch(text); found != nil {
		base := 10
		if len(found[1]) > 0 {
			base = 16
		}
		if n, err := strconv.ParseUint(string(found[2]), base, 16); err == nil {
			return rune(n), len(found[0])
		}
	}
	return 0, 0
}
