package receiver

import (
	"mime"
	"strings"

	"github.com/buildtoken/buildtoken/buildtoken/notify"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// Bounds of chat messages, in bytes. Discord refuses more than 2000 characters.
const (
	maxChat  = 1800
	maxFacts = 500
)

// rest is the text of an event without its subject, which is a link in most chats.
func rest(e *notify.Event) string { return strings.TrimPrefix(e.Text(), e.Subject()) }

// slackBody links the subject in Slack's syntax, which Mattermost understands too. Mentions
// such as @here do nothing.
func slackBody(e *notify.Event) ([]byte, []Field) {
	escape := strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", "@", "@\u200b").Replace
	subject := escape(cut(e.Subject(), 300))
	if at := e.URL(); at != "" {
		subject = "<" + at + "|" + strings.ReplaceAll(subject, "|", "¦") + ">"
	}
	return marshal(struct {
		Text string `json:"text"`
	}{subject + escape(rest(e))}), nil
}

// discordBody links the subject without a preview. Mentions do nothing.
func discordBody(e *notify.Event) ([]byte, []Field) {
	subject := escapeMarkdown(cut(e.Subject(), 300))
	if at := e.URL(); at != "" {
		subject = "[" + subject + "](<" + at + ">)"
	}
	type mentions struct {
		Parse []string `json:"parse"`
	}
	return marshal(struct {
		Content  string   `json:"content"`
		Mentions mentions `json:"allowed_mentions"`
	}{subject + escapeMarkdown(rest(e)), mentions{[]string{}}}), nil
}

// escapeMarkdown escapes what Markdown gives a meaning.
func escapeMarkdown(text string) string {
	var b strings.Builder
	for _, c := range text {
		if strings.ContainsRune("\\`*_[]<>#|~", c) {
			b.WriteByte('\\')
		}
		b.WriteRune(c)
	}
	return b.String()
}

// card is an Adaptive Card.
type card struct {
	Schema  string    `json:"$schema"`
	Type    string    `json:"type"`
	Version string    `json:"version"`
	Body    []element `json:"body"`
	Actions []action  `json:"actions,omitempty"`
}

// element is a block of text without Markdown.
type element struct {
	Type    string    `json:"type"`
	Inlines []textRun `json:"inlines"`
}

type textRun struct {
	Type   string `json:"type"`
	Text   string `json:"text"`
	Weight string `json:"weight,omitempty"`
	Color  string `json:"color,omitempty"`
}

type action struct {
	Type  string `json:"type"`
	Title string `json:"title"`
	URL   string `json:"url"`
}

type teamsMessage struct {
	Type        string       `json:"type"`
	Attachments []attachment `json:"attachments"`
}

type attachment struct {
	ContentType string  `json:"contentType"`
	ContentURL  *string `json:"contentUrl"`
	Content     card    `json:"content"`
}

// teamsBody is a message with one card, which is what the templates for workflows that
// post to a channel expect.
func teamsBody(e *notify.Event) ([]byte, []Field) {
	c := card{Schema: "http://adaptivecards.io/schemas/adaptive-card.json", Type: "AdaptiveCard", Version: "1.4"}
	add := func(run textRun) {
		run.Type, run.Text = "TextRun", queue.OneLine(run.Text, maxFacts)
		c.Body = append(c.Body, element{"RichTextBlock", []textRun{run}})
	}
	add(textRun{Text: e.Subject() + " " + e.State(), Weight: "Bolder", Color: teamsColor(e)})
	if detail := e.Detail(); detail != "" {
		add(textRun{Text: detail})
	}
	if len(e.Causes) > 0 {
		add(textRun{Text: e.Causes[0]})
	}
	if at := e.URL(); at != "" {
		c.Actions = []action{{"Action.OpenUrl", "Open", at}}
	}
	return marshal(teamsMessage{"message", []attachment{{ContentType: "application/vnd.microsoft.card.adaptive", Content: c}}}), nil
}

func teamsColor(e *notify.Event) string {
	switch e.Result {
	case queue.Success:
		return "Good"
	case queue.Unstable:
		return "Warning"
	case queue.Failure:
		return "Attention"
	default:
		return "Default"
	}
}

// ntfyBody has the text as the body, and the rest in headers.
func ntfyBody(e *notify.Event) ([]byte, []Field) {
	fields := []Field{{"Title", mime.BEncoding.Encode("utf-8", cut(e.Subject(), 200))}}
	if e.Result == queue.Failure {
		fields = append(fields, Field{"Priority", "high"})
	}
	if at := e.URL(); at != "" && isFieldValue(at) {
		fields = append(fields, Field{"Click", at})
	}
	return []byte(cut(e.Text(), maxChat)), fields
}
