"""The read side: HTTP answers and one page over catalog.search. No statement and no writing here; knows neither controller nor worker."""
