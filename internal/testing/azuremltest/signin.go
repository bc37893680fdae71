package azuremltest

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// directory is Microsoft Entra ID: what a client asks before it signs in, and the
// tokens.
func (w *Workspace) directory(rw http.ResponseWriter, r *http.Request, p string) {
	rw.Header().Set("Content-Type", "application/json")
	base := w.URL + "/" + Tenant
	switch p {
	case "/v2.0/.well-known/openid-configuration":
		json.NewEncoder(rw).Encode(map[string]string{"issuer": base + "/v2.0", "authorization_endpoint": base +
			"/oauth2/v2.0/authorize", "token_endpoint": base + "/oauth2/v2.0/token"})
	case "/oauth2/v2.0/token":
		r.ParseForm()
		deny := func(code, text string) {
			rw.WriteHeader(http.StatusUnauthorized)
			json.NewEncoder(rw).Encode(map[string]string{"error": "invalid_client", "error_description": code + ": " +
				text})
		}
		switch {
		case r.Form.Get("client_id") != Client:
			deny("AADSTS700016", "Application with identifier '"+r.Form.Get("client_id")+
				"' was not found in the directory")
			return
		case r.Form.Get("client_assertion") != "":
			if !strings.HasPrefix(r.Form.Get("client_assertion"), "workflow-token-for-") {
				deny("AADSTS700213", "No matching federated identity record found for presented assertion subject "+
					"'repo:org/x:pull_request'")
				return
			}
		case r.Form.Get("client_secret") != Secret:
			deny("AADSTS7000215", "Invalid client secret provided")
			return
		}
		token := w.token(strings.TrimSuffix(strings.Fields(r.Form.Get("scope"))[0], "/.default"))
		json.NewEncoder(rw).Encode(map[string]any{"token_type": "Bearer", "expires_in": int(w.Lifetime.Seconds()),
			"access_token": token})
	default:
		rw.WriteHeader(http.StatusNotFound)
	}
}

// token is a JSON web token, as the clients look into theirs. Nobody checks its signature.
func (w *Workspace) token(audience string) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	claims, _ := json.Marshal(map[string]any{"aud": audience, "iss": "https://sts.windows.net/" + Tenant + "/",
		"tid": Tenant, "appid": Client, "oid": Client,
		"iat": now.Unix() - 60, "nbf": now.Unix() - 60, "exp": now.Add(w.Lifetime).Unix() + 1,
		"jti": strconv.Itoa(len(w.tokens))})
	text := base64.RawURLEncoding.EncodeToString
	token := text([]byte(`{"typ":"JWT","alg":"RS256"}`)) + "." + text(claims) + "." + text([]byte("signed"))
	// Clocks may differ: ClockSkew of Microsoft.IdentityModel's TokenValidationParameters is five minutes.
	w.tokens[token] = grant{strings.TrimSuffix(audience, "/"), now.Add(w.Lifetime + 5*time.Minute)}
	return token
}

// grant is what a token is good for.
type grant struct {
	audience string
	until    time.Time
}

// holds tells whether a token is good for an audience.
func (w *Workspace) holds(token, audience string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	g, known := w.tokens[token]
	return known && g.audience == audience && time.Now().Before(g.until)
}

// admit looks at the token. The workspace's own API takes one for the control plane as
// well, which azureml-mlflow brings.
func (w *Workspace) admit(rw http.ResponseWriter, r *http.Request, audience string) bool {
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok || !w.holds(token, audience) && !(audience == w.URL+"/ml" && w.holds(token, w.URL)) {
		rw.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
		refuse(rw, http.StatusUnauthorized, "InvalidAuthenticationToken", "The access token is missing, expired or "+
			"for another audience")
		return false
	}
	return true
}
