"""The operator's page: verdict, heat map, similar earlier parts, and two buttons."""
