{{/* The release's name for things: at most 52 characters, so that "-controller" still fits into 63. */}}
{{- define "chartfleet.name" -}}
{{- $name := ternary .Release.Name (printf "%s-%s" .Release.Name .Chart.Name) (contains .Chart.Name .Release.Name) -}}
{{- $name | trunc 52 | trimSuffix "-" -}}
{{- end -}}

{{- define "chartfleet.selector" -}}
app.kubernetes.io/name: {{ .root.Chart.Name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "chartfleet.labels" -}}
{{ include "chartfleet.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end -}}

{{- define "chartfleet.image" -}}
{{- printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) -}}
{{- end -}}

{{/* What every Pod says of itself: Pod Security "restricted", no token, and where it may run. */}}
{{- define "chartfleet.pod" -}}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  fsGroup: 65532
  seccompProfile: {type: RuntimeDefault}
{{- with .Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "chartfleet.container" -}}
image: {{ include "chartfleet.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end -}}

{{/* Addresses come out of Secrets: they hold passwords. Arguments: root, key (of the database Secret). */}}
{{- define "chartfleet.databaseEnv" -}}
- name: CHARTFLEET_DATABASE_URL
  valueFrom:
    secretKeyRef:
      name: {{ required "database.existingSecret: name a Secret whose key holds the database's URL" .root.Values.database.existingSecret }}
      key: {{ .key | default .root.Values.database.key }}
{{- end -}}

{{- define "chartfleet.brokerEnv" -}}
- name: CHARTFLEET_BROKER_URL
  valueFrom:
    secretKeyRef:
      name: {{ required "broker.existingSecret: name a Secret whose key holds the broker's URL" .Values.broker.existingSecret }}
      key: {{ .Values.broker.key }}
{{- end -}}

{{/* One directory of documents: the repositories and, beside them, the Secrets that they name. */}}
{{- define "chartfleet.repositoriesVolume" -}}
- name: repositories
  projected:
    defaultMode: 0440
    sources:
      - configMap: {name: {{ include "chartfleet.name" . }}-repositories}
      {{- with .Values.repositorySecrets.existingSecret }}
      - secret: {name: {{ . }}}
      {{- end }}
{{- end -}}
