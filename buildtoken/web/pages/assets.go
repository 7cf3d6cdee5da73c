package pages

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"maps"
	"net/http"
	"path"
	"strings"

	"github.com/buildtoken/buildtoken/buildtoken/web"
)

//go:embed assets
var assetFiles embed.FS

// asset is a file that pages use. Its name holds a digest of it, so it may be
// kept for ever.
type asset struct {
	contentType string
	content     []byte
}

// loadAssets returns the assets by the name under which they are served, and those names
// by the name of the file.
func loadAssets() (byName map[string]asset, names map[string]string) {
	byName, names = map[string]asset{}, map[string]string{}
	add := func(name string, content []byte) {
		sum := sha256.Sum256(content)
		ext := path.Ext(name)
		served := strings.TrimSuffix(name, ext) + "." + hex.EncodeToString(sum[:6]) + ext
		byName[served] = asset{contentType: contentType(ext), content: content}
		names[name] = served
	}
	entries, err := assetFiles.ReadDir("assets")
	if err != nil { // it is part of the program
		panic(err)
	}
	for _, e := range entries {
		content, err := assetFiles.ReadFile("assets/" + e.Name())
		if err != nil {
			panic(err)
		}
		add(e.Name(), content)
	}
	add("colours.css", colourSheet())
	for state, icon := range tabIcons {
		add(tabIconName(state), icon.svg())
	}
	return byName, names
}

// contentType does not ask the system, which may know better or nothing.
func contentType(ext string) string {
	switch ext {
	case ".css":
		return "text/css; charset=utf-8"
	case ".js":
		return "text/javascript; charset=utf-8"
	case ".svg":
		return "image/svg+xml"
	}
	return "application/octet-stream"
}

// assetURLs are the paths of the assets by the name of the file.
func (v *visit) assetURLs() map[string]string {
	urls := maps.Clone(v.kit.urls)
	for name, served := range urls {
		urls[name] = v.assetURL(served)
	}
	return urls
}

// assetURL is the path of an asset by the name under which it is served.
func (v *visit) assetURL(served string) string { return v.base + own + "assets/" + served }

// asset answers with an asset, to any caller: assets hold nothing of the site.
func (v *visit) asset(name string) error {
	a, ok := v.kit.assets[name]
	if !ok {
		return web.ErrNotFound
	}
	h := v.W.Header()
	h.Set("Cache-Control", "public, max-age=31536000, immutable")
	h.Del("Vary")
	v.WriteBytes(http.StatusOK, a.contentType, a.content)
	return nil
}
